"""A small picture of a whole slide."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.slides.sources import Source

MASK_MPP = 8.0
"""Resolution of masks, as TIAToolbox's 1.25x."""

MAX_STRIP_PIXELS = 32_000_000


def thumbnail(source: Source, *, mpp: float, target_mpp: float = MASK_MPP) -> NDArray[np.uint8]:
    """Small picture of a whole slide, read in strips so that memory stays bounded.

    Parameters
    ----------
    source
        The open slide.
    mpp
        Microns per pixel of its level 0.
    target_mpp
        Microns per pixel of the picture; a coarser slide is left as it is.

    Returns
    -------
    RGB, shape (height, width, 3).
    """
    scales = source.info.downsamples
    fine = [level for level, scale in enumerate(scales) if mpp * scale <= target_mpp * 1.01]
    level = max(fine, key=lambda level: scales[level], default=0)
    return whole_level(source, level=level, factor=max(1.0, target_mpp / (mpp * scales[level])))


def whole_level(source: Source, *, level: int, factor: float = 1.0) -> NDArray[np.uint8]:
    """One level of a slide, reduced.

    Parameters
    ----------
    source
        The open slide.
    level
        Level of the pyramid.
    factor
        By which it is reduced; 1 leaves it as it is.

    Returns
    -------
    RGB, shape (height, width, 3).
    """
    import cv2

    info = source.info
    scale = info.downsamples[level]
    width, height = max(1, int(info.width / scale)), max(1, int(info.height / scale))
    small_width, small_height = max(1, round(width / factor)), max(1, round(height / factor))
    n_strips = max(1, min(small_height, -(-width * height // MAX_STRIP_PIXELS)))
    edges = np.linspace(0, small_height, n_strips + 1).round().astype(int)
    strips = []
    for start, stop in pairwise(edges):
        top, bottom = (round(edge * height / small_height) for edge in (start, stop))
        strip = source.read((0, round(top * scale)), (width, bottom - top), level=level)
        size = (small_width, int(stop - start))
        strips.append(cv2.resize(strip, size, interpolation=cv2.INTER_AREA))
    return np.concatenate(strips)
