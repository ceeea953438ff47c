"""Tissue masks made elsewhere, one file per slide: pictures, arrays and outlines."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gimp_plugin.errors import BagError, SafetyError, listed
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.masks import outlines, pixels
from gimp_plugin.slides.tissue.mask import TissueMask, TissueMaskError

__all__ = ["PARAMETERS", "SUFFIXES", "TissueMaskError", "find_mask", "mask_sha256", "read_mask"]

PARAMETERS: dict[str, Any] = {"mask_max_pixels": pixels.MAX_PIXELS}

ZARR = ".zarr"
READERS: dict[str, Callable[..., TissueMask]] = {
    ".png": pixels.read_png,
    ".npy": pixels.read_npy,
    ZARR: pixels.read_zarr,
    ".geojson": outlines.read_geojson,
    ".json": outlines.read_geojson,
    ".db": outlines.read_store,
}
SUFFIXES = tuple(READERS)


def find_mask(folder: Path, slide: SlideFile) -> Path:
    """Find the mask of a slide, named by slide id or file name plus one of `SUFFIXES`.

    Parameters
    ----------
    folder
        Folder of masks.
    slide
        The slide.

    Returns
    -------
    The file, or the folder of a zarr.

    Raises
    ------
    TissueMaskError
        If there is none, or more than one.
    """
    names = [slide.slide_id]
    if slide.path.name.startswith(f"{slide.slide_id}."):  # else the name is not unique
        names.append(slide.path.name)
    paths = [folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
    found = [path for path in paths if _is_there(path)]
    if not found:
        problem = f"{str(slide.path)!r} has no mask in {str(folder)!r}"
        hint = f"expected {slide.slide_id} and one of {', '.join(SUFFIXES)}"
        raise TissueMaskError(problem, hint=hint)
    if len(found) > 1:
        names_found = listed(path.name for path in found)
        problem = f"{str(slide.path)!r} has several masks in {str(folder)!r}: {names_found}"
        raise TissueMaskError(problem, hint="keep one of them")
    if found[0].is_dir() != (found[0].suffix == ZARR):
        kind = "a folder" if found[0].is_dir() else "no folder"
        raise TissueMaskError(f"{str(found[0])!r} is {kind}", hint="export it again")
    return found[0]


def _is_there(path: Path) -> bool:
    """Whether a path exists; False if its name is too long."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        problem = f"{str(path)!r} cannot be accessed: {error.strerror}"
        raise TissueMaskError(problem, hint="check the permissions of its folder") from error
    return True


def mask_sha256(path: Path) -> str:
    """Hash a mask's content; for a folder, the names and contents of its files.

    Parameters
    ----------
    path
        Result of `find_mask`.

    Returns
    -------
    Hexadecimal digits.

    Raises
    ------
    TissueMaskError
        If it cannot be read.
    """
    whole = hashlib.sha256()
    try:
        for name, file in _files(path):
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            whole.update(f"{name}\0{digest}\n".encode())
    except OSError as error:
        problem = f"{str(path)!r} cannot be read: {error.strerror}"
        raise TissueMaskError(problem, hint="check its permissions") from error
    return whole.hexdigest()


def read_mask(path: Path, *, width: int, height: int) -> TissueMask:
    """Read the mask of a slide.

    Parameters
    ----------
    path
        Result of `find_mask`.
    width, height
        Size of the slide's level 0, in pixels.

    Returns
    -------
    The mask.

    Raises
    ------
    TissueMaskError
        If it is damaged, or not of this slide's shape.
    """
    try:
        return READERS[path.suffix](path, width=width, height=height)
    except TissueMaskError as error:
        raise TissueMaskError(
            error.problem, hint=error.hint or "export or copy it again"
        ) from error
    except (SafetyError, MemoryError):
        raise
    except BagError as error:  # of a zarr
        raise TissueMaskError(error.problem, hint="export or copy it again") from error
    except Exception as error:  # a decoder may raise anything on a bad file
        problem = f"{str(path)!r} cannot be read: {type(error).__name__}: {error}"
        raise TissueMaskError(problem, hint="export or copy it again") from error


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the regular files of a mask with their names; refuse links and pipes."""
    for each in sorted(_below(path)) if path.is_dir() else [path]:
        if not each.is_file() or (each.is_symlink() and each != path):
            problem = f"{str(each)!r} is not a regular file, expected a mask"
            raise TissueMaskError(problem, hint="put the mask file itself there")
        yield each.relative_to(path).as_posix(), each


def _below(folder: Path) -> Iterator[Path]:
    """Yield files and links of a folder and its subfolders; refuse an unreadable one."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in (*names, *links))
