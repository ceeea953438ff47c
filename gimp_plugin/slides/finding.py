"""Find slides among files and folders, and name them."""

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
"""Suffixes of slides in a folder; a picture (.png, .jpg) is a slide only if given by name."""

NAMED_SUFFIXES = (*SUFFIXES, ".dcm", ".png", ".jpg", ".jpeg")
DICOM_SUFFIX = ".dcm"
IGNORED_FOLDERS = frozenset({"logs"})
"""Made by gdc-client beside each slide."""


@dataclass(frozen=True, slots=True)
class SlideFile:
    """A presumed slide: a file, or a folder of DICOM files.

    Parameters
    ----------
    path
        Its path, as the user gave it.
    slide_id
        File name without its slide suffix, made unique among the slides found.
    """

    path: Path
    slide_id: str


def find_slides(paths: Sequence[Path]) -> list[SlideFile]:
    """Find the slides among files and folders, in the order of slide_id.

    Folders are walked once each, whatever links lead to them. Hidden files, `logs/` and files
    without a slide suffix are skipped. Slides that would share a slide_id, ignoring case, all get
    the hash of their path relative to the common folder of all `paths`.

    Parameters
    ----------
    paths
        Slides and folders of slides.

    Returns
    -------
    Presumed slides, judged by name only; they are checked when opened.

    Raises
    ------
    MissingFileError
        If a path does not exist, or there are no slides.
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
    """Return the file name without its slide suffix.

    Parameters
    ----------
    path
        A slide.

    Returns
    -------
    The name, including other dots.

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
    """Return the files that a slide consists of, its main file first."""
    if path.is_dir():
        return sorted(_dicom_files(path))
    if path.suffix.lower() == DICOM_SUFFIX:  # readers take the files beside it as parts
        return [path, *sorted(part for part in _dicom_files(path.parent) if part != path)]
    return [path, *companions(path)]


def _slides_at(path: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the slides at one given path, without folders already walked."""
    if path.is_dir() and not path.name.lower().endswith(NAMED_SUFFIXES):
        yield from _walk(path, visited)
    else:
        yield path


def _walk(top: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the slides in a folder and its subfolders, each folder once."""
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
    """Warn of a folder that cannot be listed, because it may contain slides."""
    logger.warning("cannot list the folder %r: %s", error.filename, error.strerror)


def _dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder with the suffix of DICOM."""
    return (path for path in folder.iterdir() if path.suffix.lower() == DICOM_SUFFIX)


def _common_folder(paths: Sequence[Path]) -> Path:
    """Deepest folder that contains all given paths."""
    folders = [path if path.is_dir() else path.parent for path in map(Path.absolute, paths)]
    return Path(os.path.commonpath(folders))


def _named(slides: Iterable[Path], root: Path) -> Iterator[SlideFile]:
    """Name the slides; names that would clash get a hash of the relative path."""
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
    """Escape bytes that are not UTF-8, so that messages can name the slide, which is refused."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _folded(name: str) -> str:
    """Name as seen by a file system that ignores case and Unicode forms."""
    return unicodedata.normalize("NFC", name).casefold()
