"""Find tissue: a mask of a small picture of the slide, by one of several methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gimp_plugin.config.tissue import CLAM, parse_tissue
from gimp_plugin.slides.sources import Source
from gimp_plugin.slides.tissue import clam, toolbox
from gimp_plugin.slides.tissue.mask import (
    Contour,
    NoTissueError,
    TissueMask,
    TissueMaskError,
    tissue_share,
)
from gimp_plugin.slides.tissue.overview import thumbnail

__all__ = [
    "Contour",
    "NoTissueError",
    "TissueMask",
    "TissueMaskError",
    "parameters",
    "thumbnail",
    "tissue_mask",
    "tissue_share",
]

METHODS: dict[str, Callable[..., TissueMask]] = {
    "otsu": toolbox.otsu,
    "morphological": toolbox.morphological,
}


def parameters(method: str) -> dict[str, Any]:
    """Return the parameters that determine a method's masks, with names starting with `mask_`.

    Parameters
    ----------
    method
        As in the configuration.

    Returns
    -------
    Plain values, part of the hashed configuration.
    """
    name, settings = parse_tissue(method)
    return clam.parameters(settings) if name == CLAM else dict(toolbox.PARAMETERS)


def tissue_mask(source: Source, *, mpp: float, method: str) -> TissueMask:
    """Find the tissue of a slide.

    Parameters
    ----------
    source
        The open slide.
    mpp
        Microns per pixel of its level 0.
    method
        TIAToolbox's `otsu` or `morphological` (Otsu, small regions removed, dilated), or `clam`,
        optionally with parameters.

    Returns
    -------
    The mask.
    """
    name, settings = parse_tissue(method)
    if name == CLAM:
        return clam.segment(source, mpp=mpp, settings=settings)
    return METHODS[name](source, mpp=mpp)
