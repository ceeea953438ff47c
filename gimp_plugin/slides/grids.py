"""Select the patches of a slide: by a grid, and by the tissue that a patch must hold.

The grids are `inside`: whole patches from the slide's corner; `cover`, TRIDENT's: also patches
that extend over the right and lower edge; `contours`, CLAM's: one grid per piece of tissue.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.geometry import Geometry, patch_grid, scan_order
from gimp_plugin.slides.tissue.mask import Contour, NoTissueError, TissueMask, tissue_share
from gimp_plugin.storage.bags import MAX_PATCHES

MAX_GRID = 50_000_000
BY_REGION = (
    "tissue region by region (8-connected kept patches, by their first patch), "
    "in each by rows from the top, then from the left"
)
ORDERS = {
    "inside": BY_REGION,
    "cover": BY_REGION,
    "contours": "piece of tissue by piece (a contour each), in each by rows from the top, "
    "then from the left",
}
"""Order of the patches for each kind of grid."""


class Patches(NamedTuple):
    """The kept patches.

    Parameters
    ----------
    coords
        Top-left corners (x, y) in level-0 pixels, in scan order.
    n_regions
        Number of regions of neighbouring patches, or of pieces of tissue if each has its own grid.
    """

    coords: NDArray[np.int32]
    n_regions: int


def tissue_patches(
    mask: TissueMask,
    *,
    width: int,
    height: int,
    geometry: Geometry,
    min_tissue: float,
    grid: str = "inside",
) -> Patches:
    """Select the patches of a slide that hold enough tissue.

    Parameters
    ----------
    mask
        Tissue of the slide.
    width, height
        Size of level 0, in pixels.
    geometry
        Size and step of the patches.
    min_tissue
        Least share of tissue in a patch; `contours` also has a rule of its own.
    grid
        `inside`, `cover` or `contours`.

    Returns
    -------
    The patches, at least one.

    Raises
    ------
    NoTissueError
        If no patch is left.
    SlideError
        If there are more patches than a bag can hold.
    """
    if grid == "contours":
        kept = _around_contours(mask, geometry=geometry, min_tissue=min_tissue)
    else:
        if grid == "cover":
            left, top = (_covering(side, geometry=geometry) for side in (width, height))
        else:
            left, top = patch_grid(width=width, height=height, geometry=geometry)
            if not (len(left) and len(top)):
                size = geometry.patch_size_level0
                problem = (
                    f"the slide ({width} x {height}) is smaller than one patch ({size} x {size})"
                )
                raise NoTissueError(problem, hint="lower --patch-size, or leave this slide out")
        kept = _on_grid(mask, left, top, size=geometry.patch_size_level0, min_tissue=min_tissue)
    if len(kept.coords) > MAX_PATCHES:
        problem = f"{len(kept.coords)} patches hold tissue, a bag can have at most {MAX_PATCHES}"
        raise SlideError(problem, hint="raise --stride")
    return kept


def _on_grid(
    mask: TissueMask,
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    *,
    size: int,
    min_tissue: float,
) -> Patches:
    """Patches of one grid over the whole slide."""
    _check_grid(len(left), len(top))
    share = tissue_share(mask, left=left, top=top, size=size)
    rows, columns, n_regions = scan_order((share >= min_tissue) & (share > 0))
    if not len(rows):
        raise _no_tissue(f"no patch has more than {share.max():.0%}")
    return Patches(np.stack([left[columns], top[rows]], axis=1).astype(np.int32), n_regions)


def _covering(side: int, *, geometry: Geometry) -> NDArray[np.int64]:
    """Edges of patches that begin inside a slide; as in TRIDENT, the first step is a patch."""
    size, step = geometry.patch_size_level0, geometry.stride_level0
    return np.concatenate([[0], np.arange(size, side, step)])


def _around_contours(mask: TissueMask, *, geometry: Geometry, min_tissue: float) -> Patches:
    """Patches of a grid around each piece of tissue, piece by piece, row by row."""
    size, step = geometry.patch_size_level0, geometry.stride_level0
    pieces = []
    for contour in mask.outlines():
        if len(contour.outer) < 3:
            continue  # a line encloses nothing
        scaled = _at_level0(contour, mask.scale)
        (x, y), (x1, y1) = scaled.outer.min(axis=(0, 1)), scaled.outer.max(axis=(0, 1))
        left, top = np.arange(x, x1 + 1, step), np.arange(y, y1 + 1, step)
        _check_grid(len(left), len(top))
        inside = _four_points(scaled, left, top, size=size)
        if min_tissue > 0:
            inside &= tissue_share(mask, left=left, top=top, size=size) >= min_tissue
        rows, columns = np.nonzero(inside)
        if len(rows):
            pieces.append(np.stack([left[columns], top[rows]], axis=1))
    if not pieces:
        raise _no_tissue("no patch lies in a piece of tissue")
    return Patches(np.concatenate(pieces).astype(np.int32), len(pieces))


def _at_level0(contour: Contour, scale: tuple[float, float]) -> Contour:
    """Outline in level-0 pixels, rounded down as in CLAM, but exact where it is whole."""
    outer, *holes = (
        np.floor(each / np.array(scale) + 1e-6).astype(np.int32)
        for each in (contour.outer, *contour.holes)
    )
    return Contour(outer, tuple(holes))


def _four_points(
    contour: Contour, left: NDArray[np.int64], top: NDArray[np.int64], *, size: int
) -> NDArray[np.bool_]:
    """CLAM's rule: one of four points around the centre is tissue, and the centre is in no hole."""
    import shapely

    outer = shapely.Polygon(contour.outer[:, 0])
    holes = [shapely.Polygon(hole[:, 0]) for hole in contour.holes if len(hole) > 2]
    shapely.prepare([outer, *holes])
    x, y = np.meshgrid(left, top)
    shift = size // 4
    found = np.zeros(x.shape, bool)
    for dx in (-shift, shift):
        for dy in (-shift, shift):
            found |= shapely.intersects_xy(outer, x + size // 2 + dx, y + size // 2 + dy)
    for hole in holes:
        found &= ~shapely.contains_xy(hole, x + size / 2, y + size / 2)
    return found


def _check_grid(n_columns: int, n_rows: int) -> None:
    """Refuse a grid that is too large."""
    if n_columns * n_rows > MAX_GRID:
        problem = f"{n_columns} x {n_rows} patches are too many for one slide"
        raise SlideError(problem, hint="raise --stride")


def _no_tissue(detail: str) -> NoTissueError:
    """Error for a slide without a patch that holds tissue."""
    problem = f"no tissue found: {detail}"
    return NoTissueError(
        problem,
        hint="is the slide blank? otherwise lower --min-tissue, or try another --tissue or mask",
    )
