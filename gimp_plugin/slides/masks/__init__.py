"""Masks of tissue that were made elsewhere, a file a slide: pictures, arrays and outlines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gimp_plugin.errors import BagError, listed
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.masks import outlines, pixels
from gimp_plugin.slides.tissue.mask import TissueMask, TissueMaskError

__all__ = ["PARAMETERS", "SUFFIXES", "TissueMaskError", "find_mask", "mask_sha256", "read_mask"]

PARAMETERS: dict[str, Any] = {"mask_max_pixels": pixels.MAX_PIXELS}

READERS: dict[str, Callable[..., TissueMask]] = {
    ".png": pixels.read_png,
    ".npy": pixels.read_npy,
    ".zarr": pixels.read_zarr,
    ".geojson": outlines.read_geojson,
    ".json": outlines.read_geojson,
    ".db": outlines.read_store,
}
SUFFIXES = tuple(READERS)


def find_mask(folder: Path, slide: SlideFile) -> Path:
    """Find the mask of a slide: its id, or its file's name, and one of `SUFFIXES`.

    Parameters
    ----------
    folder
        Of masks.
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
    names = dict.fromkeys((slide.slide_id, slide.path.name))
    paths = [folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
    found = [path for path in paths if path.exists()]
    if not found:
        problem = f"{str(slide.path)!r} has no mask in {str(folder)!r}"
        hint = f"expected {slide.slide_id} and one of {', '.join(SUFFIXES)}"
        raise TissueMaskError(problem, hint=hint)
    if len(found) > 1:
        names_found = listed(path.name for path in found)
        problem = f"{str(slide.path)!r} has several masks in {str(folder)!r}: {names_found}"
        raise TissueMaskError(problem, hint="leave one of them")
    return found[0]


def mask_sha256(path: Path) -> str:
    """Hash of a mask's content; of a folder, of the names and contents of its files.

    Parameters
    ----------
    path
        What `find_mask` gave.

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
        raise TissueMaskError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return whole.hexdigest()


def read_mask(path: Path, *, width: int, height: int) -> TissueMask:
    """Read the mask of a slide.

    Parameters
    ----------
    path
        What `find_mask` gave.
    width, height
        Level 0 of the slide, in pixels.

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
    except BagError as error:  # of a zarr
        raise TissueMaskError(error.problem, hint="make or copy it again") from error


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Plain files of a mask with their names; links and pipes are nobody's mask."""
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    for each in paths:
        if each.is_dir() and not each.is_symlink():
            continue
        if not each.is_file() or (each.is_symlink() and each != path):
            problem = f"{str(each)!r} is no plain file, expected a mask"
            raise TissueMaskError(problem, hint="copy the mask itself")
        yield each.relative_to(path).as_posix(), each
