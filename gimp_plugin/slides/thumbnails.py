"""A small picture of a slide with its tissue and patches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.slides.geometry import Geometry
from gimp_plugin.slides.sources import Source
from gimp_plugin.slides.tissue import TissueMask, thumbnail

PATCH_COLOUR = (40, 90, 220)
OUTLINE_COLOUR = (0, 150, 60)
TINT = 0.25
LEAST_GRID_PX = 6
"""Least side of a patch in the picture for drawing its outline."""


def draw_thumbnail(
    source: Source,
    *,
    mpp: float,
    mask: TissueMask,
    coords: NDArray[np.int32],
    geometry: Geometry,
    longer_side_px: int,
) -> NDArray[np.uint8]:
    """Draw a small picture of a slide: patches tinted blue, the tissue's outline green.

    Parameters
    ----------
    source
        The open slide; its associated pictures are not read.
    mpp
        Microns per pixel of its level 0.
    mask
        Its tissue.
    coords
        Kept patches, level-0 pixels.
    geometry
        Size of the patches.
    longer_side_px
        Largest length of the picture's longer side.

    Returns
    -------
    RGB, shape (height, width, 3).
    """
    import cv2

    info = source.info
    longer = max(info.width, info.height)
    target = mpp * max(1.0, longer / longer_side_px)
    picture = np.ascontiguousarray(thumbnail(source, mpp=mpp, target_mpp=target))
    height, width = picture.shape[:2]
    scale = np.array([width / info.width, height / info.height])
    first = np.floor(coords * scale).astype(int)
    last = np.maximum(np.ceil((coords + geometry.patch_size_level0) * scale), first + 1).astype(int)
    tinted = np.zeros((height, width), bool)
    for (left, top), (right, bottom) in zip(first.tolist(), last.tolist(), strict=True):
        tinted[top:bottom, left:right] = True
    blue = (1 - TINT) * picture[tinted] + TINT * np.array(PATCH_COLOUR)
    picture[tinted] = blue.round().astype(np.uint8)
    if (last[0] - first[0]).min() >= LEAST_GRID_PX:
        for corner, other in zip(first.tolist(), (last - 1).tolist(), strict=True):
            cv2.rectangle(picture, corner, other, PATCH_COLOUR, 1)
    tissue = cv2.resize(
        mask.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    outlines, _ = cv2.findContours(tissue, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, outlines, -1, OUTLINE_COLOUR, 1)
    return picture
