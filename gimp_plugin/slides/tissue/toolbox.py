"""TIAToolbox's masks: Otsu's threshold on grey levels, and its morphological variant."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.slides.sources import Source
from gimp_plugin.slides.tissue.mask import TissueMask
from gimp_plugin.slides.tissue.overview import MASK_MPP, thumbnail

MIN_CONTRAST = 12.0
"""Least difference in grey level between tissue and glass; with less, a mask separates noise."""

STRIP_PIXELS = 1_000_000
"""Pixels counted at once; numpy needs eight bytes for each."""

PARAMETERS: dict[str, Any] = {"mask_mpp": MASK_MPP, "mask_min_contrast": MIN_CONTRAST}


def otsu(source: Source, *, mpp: float) -> TissueMask:
    """Find the tissue as the pixels darker than Otsu's threshold.

    Parameters
    ----------
    source
        The open slide.
    mpp
        Microns per pixel of its level 0.

    Returns
    -------
    The mask, empty where the picture has too little contrast to hold both tissue and glass.
    """
    return _mask(source, mpp=mpp)


def morphological(source: Source, *, mpp: float) -> TissueMask:
    """Find the tissue as `otsu` does, then remove small regions and dilate the others.

    Parameters
    ----------
    source
        The open slide.
    mpp
        Microns per pixel of its level 0.

    Returns
    -------
    The mask, empty where the picture has too little contrast to hold both tissue and glass.
    """
    masker = toolbox_masks().MorphologicalMasker(mpp=MASK_MPP)
    return _mask(source, mpp=mpp, masker=masker)


def _mask(source: Source, *, mpp: float, masker: Any = None) -> TissueMask:
    """Mask of the pixels darker than the threshold, cleaned as by a masker of TIAToolbox."""
    # The masker's own fit and transform give the same, but build a Python list of all pixels and
    # pass over the picture for each region, which takes gigabytes and minutes on a large slide.
    grey = thumbnail(source, mpp=mpp, pick=_grey)
    threshold = otsu_threshold(grey)
    mask = (grey < threshold).view(np.uint8)
    if masker is not None:
        mask = _cleaned(mask, masker)
    if not _contrasts(grey, mask):
        mask = np.zeros_like(mask)
    height, width = mask.shape
    scale = (width / source.info.width, height / source.info.height)
    return TissueMask(mask.view(bool), scale, {"threshold": threshold, "mpp": MASK_MPP})


def otsu_threshold(grey: NDArray[np.uint8]) -> float:
    """Compute Otsu's threshold from the histogram, as in TIAToolbox.

    Parameters
    ----------
    grey
        Shape (row, column).

    Returns
    -------
    Grey level below which pixels are tissue; in a uniform picture, its only grey level.
    """
    counts = np.zeros(256, np.int64)
    for rows in np.array_split(grey, -(-grey.size // STRIP_PIXELS)):
        counts += np.bincount(rows.ravel(), minlength=256)
    levels = np.flatnonzero(counts)
    low, high = int(levels[0]), int(levels[-1])
    if low == high:
        return float(low)
    hist = (counts[low : high + 1], np.arange(low, high + 1))
    return float(toolbox_masks().threshold_otsu(hist=hist))


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels of RGB, as in TIAToolbox's maskers."""
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _cleaned(mask: NDArray[np.uint8], masker: Any) -> NDArray[np.uint8]:
    """Remove small regions and dilate the others, with the masker's sizes."""
    import cv2

    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < masker.min_region_size
    small[0] = True  # pixels outside all regions
    mask = (~small[regions]).view(np.uint8)
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_DILATE, masker.kernel), np.uint8)


@functools.cache
def toolbox_masks() -> ModuleType:
    """Import TIAToolbox's module of masks without the package around it.

    Importing `tiatoolbox.tools` also imports its models, registration and graphs: 8 s and 600 MB
    that masks do not need.

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


def _contrasts(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> bool:
    """Whether the two sides of a mask differ by more than noise."""
    import cv2

    if mask.all() or not mask.any():
        return bool(mask.any())
    glass, tissue = cv2.mean(grey, mask=1 - mask)[0], cv2.mean(grey, mask=mask)[0]
    return bool(glass - tissue >= MIN_CONTRAST)
