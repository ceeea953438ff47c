"""Small pyramidal slides in Aperio's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
GLASS = 243


def make_slide(
    path: Path,
    size_px: tuple[int, int] = (1100, 900),
    *,
    mpp: float | str | None = 0.5,
    levels: Sequence[int] = (1, 4),
    tissue: Sequence[Box] | None = None,
    power: float | None = None,
    tile_px: int = 256,
    compression: str = "adobe_deflate",
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Write a slide and return its pixels.

    Parameters
    ----------
    path
        Path of the slide; its folder is created.
    size_px
        Width and height of level 0.
    mpp
        Resolution that the slide states, possibly as text; None for none.
    levels
        Downsampling factors, 1 first.
    tissue
        Boxes (x, y, width, height) of tissue on glass; by default one that fills most of the
        slide. An empty list is a blank slide.
    power
        Objective power that the slide states; None for none.
    tile_px
        Side of a tile.
    compression
        Name in tifffile; the default is lossless.
    seed
        Seed of the texture.

    Returns
    -------
    Level 0, RGB, shape (height, width, 3).
    """
    pixels = draw_tissue(size_px, tissue=tissue, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, bigtiff=False) as file:
        for downsample in levels:
            size = (size_px[0] // downsample, size_px[1] // downsample)
            level = pixels
            if downsample != 1:
                level = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            file.write(
                level,
                tile=(tile_px, tile_px),
                photometric="rgb",
                compression=compression,
                description=_description(size, mpp, power),
                metadata=None,
                software=False,
                datetime=None,
            )
    return pixels


def draw_tissue(
    size_px: tuple[int, int], *, tissue: Sequence[Box] | None = None, seed: int = 0
) -> NDArray[np.uint8]:
    """Draw rectangles of stained texture on bright glass."""
    width, height = size_px
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), GLASS, np.uint8)
    boxes = [(width // 10, height // 10, width * 8 // 10, height * 8 // 10)]
    for x, y, box_width, box_height in boxes if tissue is None else tissue:
        part = pixels[y : y + box_height, x : x + box_width]
        coarse = rng.normal(size=(max(1, box_height // 24), max(1, box_width // 24), 3))
        texture = cv2.resize(coarse, part.shape[1::-1]) * 25 + rng.normal(size=part.shape) * 6
        part[:] = np.clip(np.array([185, 105, 160]) + texture, 20, 205)
    return pixels


def _description(size: tuple[int, int], mpp: float | str | None, power: float | None) -> str:
    """Aperio's description of a level."""
    text = f"Aperio Image Library v11.2.1\n{size[0]}x{size[1]} [0,0 {size[0]}x{size[1]}]"
    parts = [text]
    parts += [] if power is None else [f"AppMag = {power:g}"]
    parts += [] if mpp is None else [f"MPP = {mpp}"]
    return "|".join(parts)
