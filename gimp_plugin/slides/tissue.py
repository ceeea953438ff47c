"""Where the tissue is: TIAToolbox's masks on a small picture of the slide."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.geometry import Geometry, patch_grid, scan_order
from gimp_plugin.slides.sources import Source
from gimp_plugin.storage.bags import MAX_PATCHES

MASK_MPP = 8.0
"""Resolution of masks, as TIAToolbox's 1.25x."""

MAX_STRIP_PIXELS = 32_000_000
MAX_GRID = 50_000_000
MIN_CONTRAST = 12.0
"""Grey levels between tissue and glass: a mask on less separates noise from noise."""


class NoTissueError(SlideError):
    """A slide without a patch that holds enough tissue."""


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Tissue of a slide.

    Parameters
    ----------
    mask
        Shape (row, column), True on tissue.
    threshold
        Grey level below which a pixel is tissue.
    scale
        Pixels of the mask per level-0 pixel, in x and y.
    """

    mask: NDArray[np.bool_]
    threshold: float
    scale: tuple[float, float]


def tissue_mask(source: Source, *, mpp: float, method: str) -> TissueMask:
    """Mask of a slide's tissue.

    Parameters
    ----------
    source
        The open slide.
    mpp
        Microns per pixel of its level 0.
    method
        `otsu`, or `morphological` (Otsu, small regions removed, dilated).

    Returns
    -------
    The mask, empty where the picture has too little contrast to hold both tissue and glass.
    """
    masks = toolbox_masks()
    picture = thumbnail(source, mpp=mpp)
    masker = (
        masks.MorphologicalMasker(mpp=MASK_MPP)
        if method == "morphological"
        else masks.OtsuTissueMasker()
    )
    (mask,) = masker.fit_transform(picture[None])
    if not _contrasts(picture, mask):
        mask = np.zeros_like(mask)
    height, width = mask.shape
    scale = (width / source.info.width, height / source.info.height)
    return TissueMask(mask, float(masker.threshold), scale)


@functools.cache
def toolbox_masks() -> ModuleType:
    """TIAToolbox's module of masks, without the package around it.

    Importing `tiatoolbox.tools` brings its models, registration and graphs as well: 8 s and 600 MB
    that no mask needs.

    Returns
    -------
    The module `tissuemask`.
    """
    import tiatoolbox

    path = Path(tiatoolbox.__file__).with_name("tools") / "tissuemask.py"
    spec = importlib.util.spec_from_file_location("gimp_plugin.slides._toolbox_masks", path)
    if spec is None or spec.loader is None or not path.exists():
        return importlib.import_module("tiatoolbox.tools.tissuemask")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    import cv2

    info = source.info
    scales = info.downsamples
    fine = [level for level, scale in enumerate(scales) if mpp * scale <= target_mpp * 1.01]
    level = max(fine, key=lambda level: scales[level], default=0)
    scale = scales[level]
    width, height = max(1, int(info.width / scale)), max(1, int(info.height / scale))
    factor = max(1.0, target_mpp / (mpp * scale))
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


def tissue_patches(
    mask: TissueMask, *, width: int, height: int, geometry: Geometry, min_tissue: float
) -> tuple[NDArray[np.int32], int]:
    """Patches that lie wholly inside the slide and hold enough tissue.

    Parameters
    ----------
    mask
        Tissue of the slide.
    width, height
        Level 0, in pixels.
    geometry
        Size and step of the patches.
    min_tissue
        Least share of tissue in a patch.

    Returns
    -------
    Top-left corners (x, y) in level-0 pixels in scan order, and the number of tissue regions.

    Raises
    ------
    NoTissueError
        If no patch is left.
    SlideError
        If there are more patches than any bag holds.
    """
    left, top = patch_grid(width=width, height=height, geometry=geometry)
    if not (len(left) and len(top)):
        size = geometry.patch_size_level0
        problem = f"the slide ({width} x {height}) is smaller than one patch ({size} x {size})"
        raise NoTissueError(problem, hint="lower --patch-size, or leave it out")
    if len(left) * len(top) > MAX_GRID:
        problem = f"{len(left)} x {len(top)} patches are too many to choose from"
        raise SlideError(problem, hint="raise --stride")
    share = tissue_share(mask, left=left, top=top, size=geometry.patch_size_level0)
    rows, columns, n_regions = scan_order((share >= min_tissue) & (share > 0))
    if not len(rows):
        problem = f"no tissue found: the fullest patch holds {share.max():.0%}"
        raise NoTissueError(problem, hint="blank? else lower --min-tissue, or try another --tissue")
    if len(rows) > MAX_PATCHES:
        problem = f"{len(rows)} patches hold tissue, a bag has {MAX_PATCHES} at most"
        raise SlideError(problem, hint="raise --stride")
    return np.stack([left[columns], top[rows]], axis=1).astype(np.int32), n_regions


def tissue_share(
    mask: TissueMask, *, left: NDArray[np.int64], top: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Share of tissue in each patch of a grid.

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
    Shape (row, column), 0 to 1; the mask's pixels are counted whole.
    """
    sums = np.pad(mask.mask.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows, columns = mask.mask.shape
    x0, x1 = _edges(left, size, mask.scale[0], columns)
    y0, y1 = _edges(top, size, mask.scale[1], rows)
    above, below = sums[y0], sums[y1]
    tissue = below[:, x1] - below[:, x0] - above[:, x1] + above[:, x0]
    return tissue / ((y1 - y0)[:, None] * (x1 - x0)[None])


def _edges(
    starts: NDArray[np.int64], size: int, scale: float, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel, and one past the last, of patches on a mask's axis; at least one pixel."""
    first = np.minimum(np.rint(starts * scale).astype(np.int64), limit - 1)
    last = np.rint((starts + size) * scale).astype(np.int64)
    return first, np.clip(last, first + 1, limit)


def _contrasts(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bool:
    """Whether what a mask separates differs by more than noise."""
    grey = picture.mean(axis=2)
    if mask.all() or not mask.any():
        return bool(mask.any())
    return bool(grey[~mask].mean() - grey[mask].mean() >= MIN_CONTRAST)
