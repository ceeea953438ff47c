"""Geometry of the patches: the level to read, and the grid of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError

NATIVE_TOLERANCE = 0.02
MAX_ENLARGEMENT = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How a patch of the target resolution is read from one slide.

    Parameters
    ----------
    level
        Level of the pyramid to read.
    patch_size
        Side of a patch at the target resolution.
    patch_size_read
        Side of a patch on the level; equal to `patch_size` if nothing is resampled.
    patch_size_level0, stride_level0
        Side of a patch and step between patches, in level-0 pixels.
    mpp
        Resolution of the patches before they are resized for the encoder.
    input_size
        Side to which a patch is resized for the encoder; 0 for no resizing.
    """

    level: int
    patch_size: int
    patch_size_read: int
    patch_size_level0: int
    stride_level0: int
    mpp: float
    input_size: int = 0

    @property
    def side(self) -> int:
        """Side of a patch in the input of the encoder."""
        return self.input_size or self.patch_size

    @property
    def interpolation(self) -> str:
        """How the pixels read are resampled to the patch."""
        if self.patch_size_read == self.patch_size:
            return "none"
        return "cv2.INTER_AREA" if self.patch_size_read > self.patch_size else "cv2.INTER_LINEAR"


def choose_geometry(
    *, mpp: float, downsamples: Sequence[float], target_mpp: float, patch_size: int, stride: int
) -> Geometry:
    """Choose the level to read.

    A level within 2 % of the target is read as it is; otherwise the coarsest level finer than the
    target is read and reduced. A slide up to 25 % coarser than the target is enlarged.

    Parameters
    ----------
    mpp
        Microns per pixel of level 0.
    downsamples
        Downsampling factor of each level relative to level 0.
    target_mpp
        Target resolution, microns per pixel.
    patch_size, stride
        In pixels at the target resolution.

    Returns
    -------
    The geometry, in whole pixels.

    Raises
    ------
    SlideError
        If the slide is much coarser than the target.

    Examples
    --------
    >>> choose_geometry(mpp=0.25, downsamples=[1, 4], target_mpp=0.5, patch_size=256, stride=256)
    Geometry(level=0, patch_size=256, patch_size_read=512, patch_size_level0=512, stride_level0=512, mpp=0.5, input_size=0)
    """  # noqa: E501  # the example's one line
    ratios = [mpp * downsample / target_mpp for downsample in downsamples]
    nearest = min(range(len(ratios)), key=lambda level: abs(ratios[level] - 1))
    finer = [level for level, ratio in enumerate(ratios) if ratio < 1]
    if ratios[0] > MAX_ENLARGEMENT:
        problem = f"the slide's finest level has mpp={mpp:g}, the target is {target_mpp:g}"
        raise SlideError(problem, hint=f"give --mpp {mpp:g} for all slides")
    if abs(ratios[nearest] - 1) <= NATIVE_TOLERANCE:
        level, read, scale = nearest, patch_size, float(downsamples[nearest])
        mpp_read = mpp * scale
    else:
        level = max(finer, key=lambda level: ratios[level], default=0)
        read, scale = max(1, round(patch_size / ratios[level])), target_mpp / mpp
        mpp_read = target_mpp
    return Geometry(
        level=level,
        patch_size=patch_size,
        patch_size_read=read,
        patch_size_level0=round(patch_size * scale),
        stride_level0=max(1, round(stride * scale)),
        mpp=mpp_read,
    )


def patch_grid(
    *, width: int, height: int, geometry: Geometry
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the x of the columns and the y of the rows of all patches wholly inside a slide.

    Parameters
    ----------
    width, height
        Size of level 0, in pixels.
    geometry
        Size and step of the patches.

    Returns
    -------
    Left edges and top edges in level-0 pixels; empty if the slide is smaller than a patch.
    """
    size, step = geometry.patch_size_level0, geometry.stride_level0
    return np.arange(0, width - size + 1, step), np.arange(0, height - size + 1, step)


def scan_order(kept: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """List the rows and columns of the kept cells of a grid, tissue region by region.

    Masked patch modeling hides runs of neighbours, so patches of one region stay together.

    Parameters
    ----------
    kept
        Shape (rows, columns).

    Returns
    -------
    Row and column of each kept cell in order, and the number of regions.
    """
    import cv2

    rows, columns = np.nonzero(kept)
    if not len(rows):
        return rows, columns, 0
    _, labels = cv2.connectedComponents(kept.astype(np.uint8), connectivity=8)
    _, first, region = np.unique(labels[kept], return_index=True, return_inverse=True)
    order = np.lexsort((columns, rows, first[region]))
    return rows[order], columns[order], len(first)
