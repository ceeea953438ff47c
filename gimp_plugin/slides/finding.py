"""Which files are slides, and what each slide is called."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gimp_plugin.errors import MissingFileError, listed
from gimp_plugin.slides.companions import companions

logger = logging.getLogger(__name__)

SUFFIXES = (
    ".ome.tiff", ".ome.tif", ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms",
    ".vmu", ".svslide", ".qptiff", ".jp2",
)  # fmt: skip
"""Slides when a folder is walked; a picture (.png, .jpg) is one only where it is named itself."""

NAMED_SUFFIXES = (*SUFFIXES, ".dcm", ".png", ".jpg", ".jpeg")
DICOM_SUFFIX = ".dcm"
IGNORED_FOLDERS = frozenset({"logs"})
"""Made by gdc-client beside each slide."""


@dataclass(frozen=True, slots=True)
class SlideFile:
    """One slide to be: a file, or a folder of DICOM files.

    Parameters
    ----------
    path
        Where it is, as the user named it.
    slide_id
        File name less its slide suffix, made unique among its neighbours.
    """

    path: Path
    slide_id: str


def find_slides(paths: Sequence[Path]) -> list[SlideFile]:
    """Slides among files and folders, in the order of slide_id.

    Folders are walked, each once, whatever links lead to it. Hidden files, `logs/` and files that
    do not end like a slide are passed over. Two slides that would share a slide_id, upper and
    lower case being the same, both get the hash of their path relative to the folder that all
    `paths` have in common.

    Parameters
    ----------
    paths
        Slides and folders of slides.

    Returns
    -------
    What looks like a slide by its name; whether it is one is seen when it is opened.

    Raises
    ------
    MissingFileError
        If a path does not exist, or there is no slide at all.
    """
    missing = [str(path) for path in paths if not os.path.lexists(path)]
    if missing:
        raise MissingFileError(f"no slide or folder {listed(missing)}", hint="check the path")
    found: dict[str, Path] = {}
    visited: set[tuple[int, int]] = set()
    for path in paths:
        for slide in _slides_at(path, visited):
            found.setdefault(os.path.abspath(slide), slide)  # noqa: PTH100  # "..": absolute() keeps
    if not found:
        problem = f"no slides in {listed(map(str, paths))}"
        raise MissingFileError(problem, hint=f"slides end in {', '.join(SUFFIXES)}")
    return sorted(_named(found.values(), _common_folder(paths)), key=lambda slide: slide.slide_id)


def slide_name(path: Path) -> str:
    """File name less its slide suffix only.

    Parameters
    ----------
    path
        A slide.

    Returns
    -------
    The name, other dots included.

    Examples
    --------
    >>> slide_name(Path("slides/TCGA-05-4244-01Z-00-DX1.d4ff32cd.svs"))
    'TCGA-05-4244-01Z-00-DX1.d4ff32cd'
    """
    lower = path.name.lower()
    suffix = next((suffix for suffix in NAMED_SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] or path.name


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder holds the files of a DICOM slide."""
    return path.is_dir() and any(_dicom_files(path))


def slide_parts(path: Path) -> list[Path]:
    """Files that a slide consists of, the slide's own first."""
    if path.is_dir():
        return sorted(_dicom_files(path))
    if path.suffix.lower() == DICOM_SUFFIX:  # readers take what lies beside it for the rest
        return [path, *sorted(part for part in _dicom_files(path.parent) if part != path)]
    return [path, *companions(path)]


def _slides_at(path: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """Slides at one path that the user gave, folders apart that were walked already."""
    if path.is_dir() and not path.name.lower().endswith(NAMED_SUFFIXES):
        yield from _walk(path, visited)
    else:
        yield path


def _walk(top: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """Slides in a folder and the folders below, each folder once."""
    for folder, folders, files in os.walk(top, followlinks=True, onerror=_tell):
        status = Path(folder).stat()
        seen = (status.st_dev, status.st_ino) in visited
        visited.add((status.st_dev, status.st_ino))
        if seen or any(name.lower().endswith(DICOM_SUFFIX) for name in files):
            folders.clear()
        if seen:
            continue
        if any(name.lower().endswith(DICOM_SUFFIX) for name in files):
            yield Path(folder)
        slides = [name for name in folders if name.lower().endswith(SUFFIXES)]
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in IGNORED_FOLDERS and name not in slides
        )
        names = (name for name in (*files, *slides) if name.lower().endswith(SUFFIXES))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _tell(error: OSError) -> None:
    """Tell of a folder that cannot be looked into: slides may be in there."""
    logger.warning("cannot look into %r: %s", error.filename, error.strerror)


def _dicom_files(folder: Path) -> Iterator[Path]:
    """Files of a folder that end like DICOM."""
    return (path for path in folder.iterdir() if path.suffix.lower() == DICOM_SUFFIX)


def _common_folder(paths: Sequence[Path]) -> Path:
    """Deepest folder that everything given lies in."""
    folders = [path if path.is_dir() else path.parent for path in map(Path.absolute, paths)]
    return Path(os.path.commonpath(folders))


def _named(slides: Iterable[Path], root: Path) -> Iterator[SlideFile]:
    """Name the slides; those that would clash carry a hash of their relative path."""
    named = [(slide, _writable(slide_name(slide))) for slide in slides]
    counts = Counter(_folded(name) for _, name in named)
    for slide, name in named:
        if counts[_folded(name)] == 1:
            yield SlideFile(slide, name)
        else:
            relative = os.path.relpath(os.path.abspath(slide), root)  # noqa: PTH100  # as above
            digest = hashlib.sha256(os.fsencode(relative)).hexdigest()
            yield SlideFile(slide, f"{name}-{digest[:6]}")


def _writable(name: str) -> str:
    """Name with what is no UTF-8 spelled out, so that it can be told; the slide is then refused."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _folded(name: str) -> str:
    """Name as a file system without case or Unicode forms sees it."""
    return unicodedata.normalize("NFC", name).casefold()
