"""Plan the patches to read from an open slide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.geometry import Geometry, choose_geometry
from gimp_plugin.slides.grids import tissue_patches
from gimp_plugin.slides.masks import find_mask, mask_sha256, read_mask
from gimp_plugin.slides.sources import MPP_WARNING, SlideInfo, Source, resolution
from gimp_plugin.slides.thumbnails import draw_thumbnail
from gimp_plugin.slides.tissue import TissueMask, tissue_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """Request to read one slide.

    Parameters
    ----------
    path
        The slide.
    mpp
        Target resolution, microns per pixel.
    patch_size, stride
        In pixels at the target resolution.
    tissue, min_tissue
        Method of the mask, and the least share of tissue in a patch.
    slide_mpp
        Resolution of the slide if it does not state it; 0 if unknown.
    batch_size
        Patches per batch; 0 for the plan only.
    max_bad_patches
        Largest share of patches that may be unreadable.
    thumbnail_px
        Longer side of the slide's picture to return with the plan; 0 for none.
    grid
        Grid of patches: `inside`, `cover` or `contours`.
    input_size
        Side to which patches are resized for the encoder; 0 for no resizing.
    mask
        File with the slide's mask, if it was made elsewhere.
    """

    path: str
    mpp: float
    patch_size: int
    stride: int
    tissue: str
    min_tissue: float
    slide_mpp: float
    batch_size: int
    max_bad_patches: float = 0.0
    thumbnail_px: int = 0
    grid: str = "inside"
    input_size: int = 0
    mask: str = ""

    def max_bad(self, n_patches: int) -> int:
        """Number of a slide's patches that may be unreadable."""
        return math.floor(self.max_bad_patches * n_patches)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidePlan:
    """Patches to read from one slide, and properties of the slide.

    Parameters
    ----------
    info
        Properties that the slide states.
    geometry
        How patches are read.
    mpp_x, mpp_y, mpp_source
        Resolution of level 0, and its source: stated by the `slide`, or `given` by the user.
    tissue
        Attributes of the tissue mask, for the bag.
    n_regions
        Number of connected regions of kept patches, or of pieces of tissue with a grid each.
    coords
        Top-left corners, level-0 pixels, in scan order.
    thumbnail
        Small RGB picture of the slide with its mask and patches, if requested.
    """

    info: SlideInfo
    geometry: Geometry
    mpp_x: float
    mpp_y: float
    mpp_source: str
    tissue: Mapping[str, Any]
    n_regions: int
    coords: NDArray[np.int32]
    thumbnail: NDArray[np.uint8] | None = None

    @property
    def anisotropic(self) -> bool:
        """Whether pixels are so far from square that the user is warned."""
        return abs(self.mpp_x / self.mpp_y - 1) > MPP_WARNING

    def to_message(self) -> dict[str, Any]:
        """Return all but coordinates and picture as plain values."""
        message = {name: getattr(self, name) for name in _PLAIN}
        return message | {"info": asdict(self.info), "geometry": asdict(self.geometry)}

    @classmethod
    def from_message(
        cls,
        message: Mapping[str, Any],
        coords: NDArray[np.int32],
        *,
        thumbnail: NDArray[np.uint8] | None = None,
    ) -> Self:
        """Make the plan from plain values and coordinates.

        Parameters
        ----------
        message
            Result of `to_message`, sent as JSON.
        coords
            Shape (patch, 2).
        thumbnail
            Picture of the slide, if any.

        Returns
        -------
        The plan.
        """
        info = message["info"] | {"downsamples": tuple(message["info"]["downsamples"])}
        return cls(
            info=SlideInfo(**info),
            geometry=Geometry(**message["geometry"]),
            coords=coords,
            thumbnail=thumbnail,
            **{name: message[name] for name in _PLAIN},
        )


_PLAIN = ("mpp_x", "mpp_y", "mpp_source", "tissue", "n_regions")


def request_for(
    slide: SlideFile, config: ExtractionConfig, *, slide_mpp: float, batch_size: int
) -> ReadRequest:
    """Make the request to read a slide.

    Parameters
    ----------
    slide
        The slide.
    config
        Settings that determine its bag.
    slide_mpp
        Its resolution if it does not state it; 0 if unknown.
    batch_size
        Patches per batch; 0 for the plan only.

    Returns
    -------
    The request.
    """
    mask = mask_path(slide, config)
    return ReadRequest(
        path=str(slide.path.absolute()),
        mpp=config.mpp,
        patch_size=config.patch_size,
        stride=config.stride or config.patch_size,
        tissue=config.tissue,
        min_tissue=config.min_tissue,
        slide_mpp=slide_mpp,
        batch_size=batch_size,
        max_bad_patches=config.max_bad_patches,
        grid=config.grid,
        input_size=config.input_size,
        mask="" if mask is None else str(mask.absolute()),
    )


def mask_path(slide: SlideFile, config: ExtractionConfig) -> Path | None:
    """Return the path of a slide's mask that was made elsewhere.

    Parameters
    ----------
    slide
        The slide.
    config
        Settings that determine its bag.

    Returns
    -------
    The path, or None if masks are made here.
    """
    if not config.masks:
        return None
    return find_mask(Path(config.masks), slide)


def mask_print(slide: SlideFile, config: ExtractionConfig) -> str:
    """Hash a slide's mask that was made elsewhere; empty if masks are made here."""
    path = mask_path(slide, config)
    return "" if path is None else mask_sha256(path)


def make_plan(source: Source, request: ReadRequest) -> SlidePlan:
    """Choose the level, find the tissue and lay out the patches.

    Parameters
    ----------
    source
        The open slide.
    request
        The request.

    Returns
    -------
    The plan; it has at least one patch.
    """
    info = source.info
    mpp_x, mpp_y, mpp_source = resolution(info, given=request.slide_mpp)
    mpp = (mpp_x + mpp_y) / 2
    geometry = choose_geometry(
        mpp=mpp,
        downsamples=info.downsamples,
        target_mpp=request.mpp,
        patch_size=request.patch_size,
        stride=request.stride,
    )
    mask = _mask(source, request, mpp=mpp)
    coords, n_regions = tissue_patches(
        mask,
        width=info.width,
        height=info.height,
        geometry=geometry,
        min_tissue=request.min_tissue,
        grid=request.grid,
    )
    picture = None
    if request.thumbnail_px:
        picture = draw_thumbnail(
            source,
            mpp=mpp,
            mask=mask,
            coords=coords,
            geometry=geometry,
            longer_side_px=request.thumbnail_px,
        )
    return SlidePlan(
        info=info,
        geometry=replace(geometry, input_size=request.input_size),
        mpp_x=mpp_x,
        mpp_y=mpp_y,
        mpp_source=mpp_source,
        tissue=dict(mask.about),
        n_regions=n_regions,
        coords=coords,
        thumbnail=picture,
    )


def _mask(source: Source, request: ReadRequest, *, mpp: float) -> TissueMask:
    """Find the tissue, or read its mask."""
    if not request.mask:
        return tissue_mask(source, mpp=mpp, method=request.tissue)
    path, info = Path(request.mask), source.info
    about = {"file": path.name, "sha256": mask_sha256(path)}
    mask = read_mask(path, width=info.width, height=info.height)
    return replace(mask, about={**mask.about, **about})
