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
"""Grey levels between tissue and glass: a mask on less separates noise from noise."""

PARAMETERS: dict[str, Any] = {"mask_mpp": MASK_MPP, "mask_min_contrast": MIN_CONTRAST}


def otsu(source: Source, *, mpp: float) -> TissueMask:
    """Tissue is what is darker than Otsu's threshold.

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
    return _mask(source, toolbox_masks().OtsuTissueMasker(), mpp=mpp)


def morphological(source: Source, *, mpp: float) -> TissueMask:
    """As `otsu`, with small regions removed and the others dilated.

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
    return _mask(source, toolbox_masks().MorphologicalMasker(mpp=MASK_MPP), mpp=mpp)


def _mask(source: Source, masker: Any, *, mpp: float) -> TissueMask:
    """Apply one of TIAToolbox's maskers."""
    picture = thumbnail(source, mpp=mpp)
    (mask,) = masker.fit_transform(picture[None])
    if not _contrasts(picture, mask):
        mask = np.zeros_like(mask)
    height, width = mask.shape
    scale = (width / source.info.width, height / source.info.height)
    return TissueMask(mask, scale, {"threshold": float(masker.threshold), "mpp": MASK_MPP})


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


def _contrasts(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bool:
    """Whether what a mask separates differs by more than noise."""
    grey = picture.mean(axis=2)
    if mask.all() or not mask.any():
        return bool(mask.any())
    return bool(grey[~mask].mean() - grey[mask].mean() >= MIN_CONTRAST)
