"""Masks given as pixels of the whole slide, at any resolution: 0 is glass, all else is tissue."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.slides.pictures import MAX_PICTURE_PIXELS
from gimp_plugin.slides.tissue.mask import TissueMask, TissueMaskError
from gimp_plugin.storage.zarr_folders import array_of, opened

MAX_PIXELS = 32_000_000
"""A larger mask is thinned out: every second pixel of every second row, or every third, ..."""

TOLERANCE = 0.01
"""Largest relative difference between the shapes of mask and slide; one pixel may always lack."""

PREDICTIONS = "predictions"
"""Array of TIAToolbox's SemanticSegmentor."""

ROWS = 2048
TRANSPARENT = "transparency"
"""Pillow's name of a PNG's tRNS: a colour, or the opacity of a palette's colours."""

MODES = {"1", "L", "LA", "P", "I", "I;16", "RGB", "RGBA"}

Rows = Callable[[int, int], NDArray[Any]]
"""Returns rows `start` to `stop` of a mask."""


def read_png(path: Path, *, width: int, height: int) -> TissueMask:
    """Read a picture; transparent pixels, and index 0 of a palette, are not tissue.

    Parameters
    ----------
    path
        The picture.
    width, height
        Level 0 of the slide, in pixels.

    Returns
    -------
    The mask.

    Raises
    ------
    TissueMaskError
        If it is damaged, not of the slide's shape, or has unsupported pixels.
    """
    import PIL.Image

    limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None  # our own limit is below
    try:
        with PIL.Image.open(path, formats=["PNG"]) as picture:
            columns, rows = picture.size
            if picture.mode not in MODES:
                problem = f"{str(path)!r} has pixels of kind {picture.mode}, expected grey or RGB"
                raise TissueMaskError(problem)
            if columns * rows > MAX_PICTURE_PIXELS:
                problem = f"{str(path)!r} has too many pixels ({columns} x {rows})"
                raise TissueMaskError(problem, hint="a mask of 8 microns per pixel is enough")
            step = _check_shape(path, (rows, columns), width=width, height=height)

            def part(start: int, stop: int) -> NDArray[np.bool_]:
                rows = np.asarray(picture.crop((0, start, columns, stop)))
                return _marked(rows, picture.mode) & _opaque(rows, picture.info.get(TRANSPARENT))

            return _thinned(part, (rows, columns), step, width=width, height=height)
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, TissueMaskError):
            raise
        raise TissueMaskError(f"{str(path)!r} is not a PNG, or is damaged: {error}") from error
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit


def read_npy(path: Path, *, width: int, height: int) -> TissueMask:
    """Read an array of labels (row, column), or of probabilities (row, column, class).

    Parameters
    ----------
    path
        An .npy file.
    width, height
        Level 0 of the slide, in pixels.

    Returns
    -------
    The mask; for probabilities, the pixels where the likeliest class is not the first.

    Raises
    ------
    TissueMaskError
        If it is not an array of numbers, or not of the slide's shape.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TissueMaskError(f"{str(path)!r} is not an array of numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        raise TissueMaskError(f"{str(path)!r} is an archive, expected one array")
    return _labels(
        path, array.shape, array.dtype, lambda start, stop: array[start:stop],
        width=width, height=height,
    )  # fmt: skip


def read_zarr(path: Path, *, width: int, height: int) -> TissueMask:
    """Read the `predictions` of TIAToolbox's SemanticSegmentor, or a folder that is one array.

    Parameters
    ----------
    path
        The folder.
    width, height
        Level 0 of the slide, in pixels.

    Returns
    -------
    The mask.

    Raises
    ------
    TissueMaskError
        If there is no such array, or it is not of the slide's shape.
    """
    with opened(path):
        array = array_of(path, PREDICTIONS) or array_of(path, "")
    if array is None:
        problem = f"{str(path)!r} has no array {PREDICTIONS!r}"
        raise TissueMaskError(problem, hint="give what TIAToolbox's SemanticSegmentor wrote")
    array.check_chunks(complete=False, expansion=math.inf)  # pixels are limited below
    return _labels(path, array.shape, array.dtype, array.read, width=width, height=height)


def _labels(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    rows: Rows,
    *,
    width: int,
    height: int,
) -> TissueMask:
    """Make a mask from labels or probabilities."""
    if len(shape) == 3 and shape[2] == 1:
        return _labels(
            path, shape[:2], dtype, lambda start, stop: rows(start, stop)[..., 0],
            width=width, height=height,
        )  # fmt: skip
    if len(shape) not in {2, 3} or dtype.kind not in "biuf" or 0 in shape:
        problem = f"{str(path)!r} has shape {shape} and type {dtype}"
        raise TissueMaskError(f"{problem}, expected numbers of shape (row, column)")
    step = _check_shape(path, shape[:2], width=width, height=height)

    def part(start: int, stop: int) -> NDArray[np.bool_]:
        values = rows(start, stop)
        if values.ndim == 3:
            return np.asarray(values.argmax(axis=2) != 0)
        return np.asarray((values != 0) & ~np.isnan(values))

    return _thinned(part, shape[:2], step, width=width, height=height)


def _check_shape(path: Path, shape: tuple[int, ...], *, width: int, height: int) -> int:
    """Refuse a mask whose shape is not its slide's; return the step that makes it small enough."""
    rows, columns = shape
    differs = abs(columns * height / (rows * width) - 1)
    if differs > TOLERANCE + 1 / min(shape):
        problem = (
            f"{str(path)!r} has {columns} x {rows} pixels, another shape than the slide "
            f"({width} x {height})"
        )
        raise TissueMaskError(problem, hint="give a mask of the whole slide, not rotated")
    return math.ceil(math.sqrt(rows * columns / MAX_PIXELS))


def _thinned(
    part: Rows, shape: tuple[int, ...], step: int, *, width: int, height: int
) -> TissueMask:
    """Take every `step`-th pixel of a mask that is read part by part."""
    rows, columns = shape
    strip = step * math.ceil(ROWS / step)
    starts = range(0, rows, strip)
    mask = np.concatenate(
        [part(start, min(start + strip, rows))[::step, ::step] for start in starts]
    )
    scale = (columns / step / width, rows / step / height)
    return TissueMask(mask, scale, {"share": float(mask.mean())})


def _opaque(values: NDArray[Any], transparent: Any) -> NDArray[np.bool_] | bool:
    """Pixels whose colour the PNG does not declare transparent."""
    if transparent is None:
        return True
    if isinstance(transparent, bytes):
        opacity = np.frombuffer(transparent.ljust(256, b"\xff"), np.uint8)
        return np.asarray(opacity[values] != 0)
    differs = values != np.asarray(transparent)
    return np.asarray(differs.any(axis=2) if values.ndim == 3 else differs)


def _marked(values: NDArray[Any], mode: str) -> NDArray[np.bool_]:
    """Pixels of a picture that are neither 0 nor transparent."""
    if values.ndim == 2:
        return values != 0
    if mode in {"LA", "RGBA"}:
        return np.asarray((values[..., :-1] != 0).any(axis=2) & (values[..., -1] != 0))
    return np.asarray((values != 0).any(axis=2))
