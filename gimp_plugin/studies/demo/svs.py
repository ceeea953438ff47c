"""Write a picture as a pyramidal slide that OpenSlide reads as an Aperio slide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.storage.atomic import whole_file

MPP = 0.5
TILE = 256
STEP = 4
"""Each level has a quarter of the side length of the previous one."""
SMALLEST = 256
JPEG_QUALITY = 85


def write_svs(path: Path, picture: NDArray[np.uint8], *, mpp: float = MPP) -> None:
    """Write an RGB picture as a pyramidal TIFF with Aperio's description.

    Parameters
    ----------
    path
        File to write; equal pictures give equal bytes.
    picture
        Level 0, shape (height, width, 3).
    mpp
        Microns per pixel of level 0.
    """
    import tifffile

    height, width, _ = picture.shape
    described = f"Aperio Image Library\r\n{width}x{height}|AppMag = {10 / mpp:g}|MPP = {mpp:g}"
    with whole_file(path) as temporary, tifffile.TiffWriter(temporary) as file:
        for level in _pyramid(picture):
            file.write(
                level,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": JPEG_QUALITY},
                description=described,
                software=False,
                metadata=None,
                contiguous=False,
            )


def _pyramid(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Levels from the largest to the smallest, each the mean of blocks of the previous one."""
    levels = [picture]
    while min(levels[-1].shape[:2]) // STEP >= SMALLEST:
        rows, columns = (side // STEP * STEP for side in levels[-1].shape[:2])
        blocks = levels[-1][:rows, :columns].reshape(rows // STEP, STEP, columns // STEP, STEP, 3)
        levels.append(np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8))
    return levels
