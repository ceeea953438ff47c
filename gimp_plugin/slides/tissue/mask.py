"""The mask of tissue, and the share of tissue in patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError


class NoTissueError(SlideError):
    """A slide has no patch that holds enough tissue."""


class TissueMaskError(SlideError):
    """A mask made elsewhere is missing, damaged or not of its slide."""


@dataclass(frozen=True, slots=True)
class Contour:
    """Outline of one piece of tissue, in pixels of a mask.

    Parameters
    ----------
    outer
        Shape (point, 1, 2), as in OpenCV.
    holes
        Outlines of the holes in it.
    """

    outer: NDArray[np.int32]
    holes: tuple[NDArray[np.int32], ...] = ()


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Tissue of a slide.

    Parameters
    ----------
    mask
        Shape (row, column), True on tissue.
    scale
        Pixels of the mask per level-0 pixel, in x and y.
    about
        Attributes for the bag, by names without the prefix `tissue_mask_`.
    contours
        Its outlines, if they were filtered one by one; else they are found from the mask.
    """

    mask: NDArray[np.bool_]
    scale: tuple[float, float]
    about: Mapping[str, Any] = field(default_factory=dict)
    contours: tuple[Contour, ...] | None = None

    def outlines(self) -> tuple[Contour, ...]:
        """Outlines of the pieces of tissue with their holes."""
        return find_contours(self.mask) if self.contours is None else self.contours


def find_contours(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> tuple[Contour, ...]:
    """Find the outlines of the pieces of a mask, each with all its holes.

    Parameters
    ----------
    mask
        Shape (row, column), non-zero on tissue.

    Returns
    -------
    The outlines, in OpenCV's order.
    """
    import cv2

    lines, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not lines:
        return ()
    found = [np.asarray(line, np.int32) for line in lines]
    parents = tree[0, :, 3]
    holes: dict[int, list[NDArray[np.int32]]] = {}
    for outline, parent in zip(found, parents.tolist(), strict=True):
        if parent >= 0:
            holes.setdefault(parent, []).append(outline)
    return tuple(
        Contour(found[index], tuple(holes.get(index, ())))
        for index in np.flatnonzero(parents < 0).tolist()
    )


def tissue_share(
    mask: TissueMask, *, left: NDArray[np.int64], top: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Compute the share of tissue in each patch of a grid.

    Parameters
    ----------
    mask
        Tissue of the slide.
    left, top
        Edges of the columns and rows, in level-0 pixels.
    size
        Side of a patch, in level-0 pixels.

    Returns
    -------
    Shape (row, column), 0 to 1. Whole pixels of the mask are counted; for a patch that extends
    over the slide's edge, only the part inside.
    """
    rows, columns = mask.mask.shape
    x0, x1 = _edges(left, size, mask.scale[0], columns)
    y0, y1 = _edges(top, size, mask.scale[1], rows)
    tissue = np.empty((len(top), len(left)))
    sums = np.zeros(columns + 1, np.int64)
    for row, (first, last) in enumerate(zip(y0.tolist(), y1.tolist(), strict=True)):
        np.cumsum(np.count_nonzero(mask.mask[first:last], axis=0), out=sums[1:])
        tissue[row] = sums[x1] - sums[x0]
    return tissue / ((y1 - y0)[:, None] * (x1 - x0)[None])


def _edges(
    starts: NDArray[np.int64], size: int, scale: float, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel and end of patches on an axis of the mask, at least one pixel apart."""
    first = np.minimum(np.rint(starts * scale).astype(np.int64), limit - 1)
    last = np.rint((starts + size) * scale).astype(np.int64)
    return first, np.clip(last, first + 1, limit)
