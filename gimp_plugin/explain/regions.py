"""Regions of a slide: blocks of neighbouring patches, all of a size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GROWTH = 1.2


def step_of(corners: NDArray[np.int32]) -> int:
    """Smallest distance of two columns or rows of patches; 1 where there is only one of each.

    Parameters
    ----------
    corners
        Top-left corners, shape (patch, 2).

    Returns
    -------
    Level-0 pixels: the side of a patch where patches touch, and the bag does not tell it.
    """
    steps = np.concatenate([np.diff(np.unique(corners[:, axis])) for axis in (0, 1)])
    return int(steps.min()) if steps.size else 1


def blocks(corners: NDArray[np.int32], *, n_regions: int, side: int) -> NDArray[np.int64]:
    """Square blocks of the smallest size of which at most so many hold a patch.

    Parameters
    ----------
    corners
        Top-left corners of the patches of a slide, shape (patch, 2).
    n_regions
        Regions, at most; 1 or more.
    side
        Of a patch, in the units of the corners.

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
    """Runs of patches as they come, for a bag without places: neighbours follow each other.

    Parameters
    ----------
    n_patches, n_regions
        How many patches, and regions at most.

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
    """Regions of a case; each slide gets as many as its share of the patches, at least one.

    Parameters
    ----------
    places
        Corners of each slide's patches, or their number where the corners are unknown.
    n_regions
        Regions of the case, about.
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
