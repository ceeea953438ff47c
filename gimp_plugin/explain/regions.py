"""Regions of a slide: blocks of neighbouring patches, all of the same size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GROWTH = 1.2


def step_of(corners: NDArray[np.int32]) -> int:
    """Smallest distance between two columns or rows of patches; 1 if there is only one of each.

    Parameters
    ----------
    corners
        Top-left corners, shape (patch, 2).

    Returns
    -------
    The distance in level-0 pixels. If patches touch, it is the side of a patch, for bags that do
    not record one.
    """
    steps = np.concatenate([np.diff(np.unique(corners[:, axis])) for axis in (0, 1)])
    return int(steps.min()) if steps.size else 1


def blocks(corners: NDArray[np.int32], *, n_regions: int, side: int) -> NDArray[np.int64]:
    """Divide a slide into square blocks, as small as the maximum number of regions allows.

    Parameters
    ----------
    corners
        Top-left corners of the patches of a slide, shape (patch, 2).
    n_regions
        Maximum number of regions, 1 or more; blocks without patches do not count.
    side
        Side of a patch, in the units of the corners.

    Returns
    -------
    Region of each patch, numbered from 0 in the order of rows.
    """
    places = (corners - corners.min(axis=0)).astype(np.int64)
    block = float(side)
    while True:
        column, row = (places // max(1, int(block))).T
        found, region = np.unique(row * (column.max() + 1) + column, return_inverse=True)
        if len(found) <= n_regions:
            return region
        block *= GROWTH


def runs(n_patches: int, *, n_regions: int) -> NDArray[np.int64]:
    """Divide patches into runs by index, for a bag without coords: neighbours are adjacent.

    Parameters
    ----------
    n_patches, n_regions
        Number of patches, and maximum number of regions.

    Returns
    -------
    Region of each patch.

    Examples
    --------
    >>> runs(5, n_regions=2).tolist()
    [0, 0, 0, 1, 1]
    """
    return np.arange(n_patches) * min(n_regions, n_patches) // n_patches


def regions_of(
    places: Sequence[NDArray[np.int32] | int], *, n_regions: int, sides: Sequence[int]
) -> NDArray[np.int64]:
    """Divide a case into regions; each slide gets its share by patches, at least one.

    Parameters
    ----------
    places
        Corners of each slide's patches, or their number if the corners are unknown.
    n_regions
        Approximate number of regions of the case.
    sides
        Side of the patches of each slide.

    Returns
    -------
    Region of each patch, slide after slide.
    """
    sizes = [place if isinstance(place, int) else len(place) for place in places]
    found: list[NDArray[np.int64]] = []
    first = 0
    for place, size, side in zip(places, sizes, sides, strict=True):
        own = max(2 if len(places) == 1 else 1, round(n_regions * size / sum(sizes)))
        region = (
            runs(place, n_regions=own)
            if isinstance(place, int)
            else blocks(place, n_regions=own, side=side)
        )
        found.append(region + first)
        first += int(region.max()) + 1
    return np.concatenate(found)
