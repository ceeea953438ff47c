"""A small picture of a whole slide."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.slides.sources import Source

MASK_MPP = 8.0
"""Resolution of masks, equal to TIAToolbox's 1.25x."""

MAX_STRIP_PIXELS = 2_000_000
MIN_STRIP_ROWS = 256
"""With fewer rows, tiles of a wide level would be decoded repeatedly."""

Pick = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Converts the colours of a picture, pixel by pixel."""


def all_colours(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture unchanged."""
    return picture


def thumbnail(
    source: Source, *, mpp: float, target_mpp: float = MASK_MPP, pick: Pick = all_colours
) -> NDArray[np.uint8]:
    """Make a small picture of a whole slide.

    Parameters
    ----------
    source
        The open slide.
    mpp
        Microns per pixel of its level 0.
    target_mpp
        Microns per pixel of the picture; a coarser slide is not enlarged.
    pick
        Converts the RGB pixels.

    Returns
    -------
    Result of `pick`, shape (height, width, ...).
    """
    scales = source.info.downsamples
    fine = [level for level, scale in enumerate(scales) if mpp * scale <= target_mpp * 1.01]
    level = max(fine, key=lambda level: scales[level], default=0)
    factor = max(1.0, target_mpp / (mpp * scales[level]))
    return whole_level(source, level=level, factor=factor, pick=pick)


def whole_level(
    source: Source,
    *,
    level: int,
    factor: float = 1.0,
    pick: Pick = all_colours,
    strip_pixels: int = MAX_STRIP_PIXELS,
) -> NDArray[np.uint8]:
    """Read and reduce one level of a slide, in strips to bound memory.

    A strip begins at a whole pixel of level 0, so it may be shifted by half such a pixel if the
    scale of the level is not a whole number.

    Parameters
    ----------
    source
        The open slide.
    level
        Level of the pyramid.
    factor
        Factor of reduction; 1 for none.
    pick
        Converts the RGB pixels.
    strip_pixels
        Approximate number of pixels of a strip.

    Returns
    -------
    Result of `pick`, shape (height, width, ...).
    """
    import cv2

    info = source.info
    scale = info.downsamples[level]
    width, height = max(1, int(info.width / scale)), max(1, int(info.height / scale))
    small_width, small_height = max(1, round(width / factor)), max(1, round(height / factor))
    n_rows = max(MIN_STRIP_ROWS, strip_pixels // width)
    n_strips = max(1, min(small_height, -(-height // n_rows)))
    edges = np.linspace(0, small_height, n_strips + 1).round().astype(int)
    picture: NDArray[np.uint8] | None = None
    for start, stop in pairwise(edges):
        top, bottom = (round(edge * height / small_height) for edge in (start, stop))
        strip = source.read((0, round(top * scale)), (width, bottom - top), level=level)
        size = (small_width, int(stop - start))
        part = pick(np.asarray(cv2.resize(strip, size, interpolation=cv2.INTER_AREA), np.uint8))
        if picture is None:
            picture = np.empty((small_height, *part.shape[1:]), part.dtype)
        picture[start:stop] = part
    assert picture is not None  # noqa: S101  # there is at least one strip
    return picture
