"""Open slides: read by OpenSlide, by TIAToolbox, or decoded as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.pictures import cut, over_white
from gimp_plugin.slides.tags import plausible, tag_mpp

TILE_CACHE_BYTES = 128 << 20
PLAIN_TIFF = "generic-tiff"
"""OpenSlide's name of TIFFs without a vendor."""

ROUNDING_PX = 1.5
"""Largest difference between a level's size and that of level 0, reduced."""

UNITS = {"inch": 2, "centimeter": 3}
"""OpenSlide's names of the units of a TIFF's resolution."""

Mpp = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideInfo:
    """The only properties of a slide that are read; none is about the patient.

    Parameters
    ----------
    reader
        The reader: `tiatoolbox.<class>` or `openslide`.
    vendor
        Vendor of the format, as named by the reader.
    width, height
        Size of level 0, in pixels.
    downsamples
        Downsampling factor of each level relative to level 0.
    mpp_x, mpp_y
        Microns per pixel at level 0; None if the slide does not state them.
    power
        Objective power; None if the slide does not state it.
    """

    reader: str
    vendor: str
    width: int
    height: int
    downsamples: tuple[float, ...]
    mpp_x: float | None
    mpp_y: float | None
    power: float | None

    @property
    def flat_bytes(self) -> int:
        """Decoded size in bytes of a slide without a pyramid; 0 for one with a pyramid."""
        return 0 if len(self.downsamples) > 1 else 3 * self.width * self.height


class Source(Protocol):
    """An open slide."""

    @property
    def info(self) -> SlideInfo:
        """Properties that the slide states."""
        ...

    def read(
        self, corner: tuple[int, int], size: tuple[int, int], *, level: int
    ) -> NDArray[np.uint8]:
        """Read pixels.

        Parameters
        ----------
        corner
            Top-left (x, y) in level-0 pixels.
        size
            Width and height in pixels of the level.
        level
            Level of the pyramid.

        Returns
        -------
        RGB, shape (height, width, 3).
        """
        ...

    def close(self) -> None:
        """Close the slide's files."""
        ...


class OpenSlideSource:
    """A slide read by OpenSlide, directly or underneath TIAToolbox's reader."""

    def __init__(self, handle: Any, reader: str) -> None:
        import openslide

        self._handle = handle
        handle.set_cache(openslide.OpenSlideCache(TILE_CACHE_BYTES))
        properties: Mapping[str, str] = handle.properties
        mpp_x, mpp_y = _stated_mpp(properties)
        self.info = SlideInfo(
            reader=reader,
            vendor=properties.get("openslide.vendor", "unknown"),
            width=handle.dimensions[0],
            height=handle.dimensions[1],
            downsamples=tuple(handle.level_downsamples[: _n_levels(handle)]),
            mpp_x=mpp_x,
            mpp_y=mpp_y,
            power=number(properties.get("openslide.objective-power")),
        )

    def read(
        self, corner: tuple[int, int], size: tuple[int, int], *, level: int
    ) -> NDArray[np.uint8]:
        """Read pixels; areas that the scanner left out are white."""
        return over_white(np.asarray(self._handle.read_region(corner, level, size)))

    def close(self) -> None:
        """Close the slide's files."""
        self._handle.close()


class ToolboxSource:
    """A slide read by one of TIAToolbox's own readers."""

    def __init__(self, reader: Any, *, mpp: Mpp | None = None) -> None:
        self._reader = reader
        info = reader.info
        if mpp is None:
            mpp = plausible(*((None, None) if info.mpp is None else map(number, info.mpp)))
        self.info = SlideInfo(
            reader=f"tiatoolbox.{type(reader).__name__}",
            vendor=str(info.vendor or "unknown"),
            width=int(info.slide_dimensions[0]),
            height=int(info.slide_dimensions[1]),
            downsamples=tuple(float(value) for value in info.level_downsamples),
            mpp_x=mpp[0],
            mpp_y=mpp[1],
            power=None,  # these readers may guess it from the resolution
        )

    def read(
        self, corner: tuple[int, int], size: tuple[int, int], *, level: int
    ) -> NDArray[np.uint8]:
        """Read pixels from the reader's own level."""
        pixels = np.asarray(self._reader.read_rect(corner, size, resolution=level, units="level"))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in {3, 4}:
            problem = f"the slide has pixels of shape {pixels.shape} and type {pixels.dtype}"
            raise SlideError(f"{problem}, expected 8-bit RGB", hint="convert it")
        return over_white(pixels) if pixels.shape[2] == 4 else pixels

    def close(self) -> None:
        """Close the files that the reader keeps open."""
        for name in ("_zarr_store", "tiff"):  # TIAToolbox closes neither
            file = getattr(self._reader, name, None)
            if file is not None:
                file.close()


class PictureSource:
    """A picture held in memory as a whole."""

    def __init__(self, pixels: NDArray[np.uint8], *, mpp: Mpp) -> None:
        self._pixels = pixels
        height, width = pixels.shape[:2]
        self.info = SlideInfo(
            reader="pillow",
            vendor="picture",
            width=width,
            height=height,
            downsamples=(1.0,),
            mpp_x=mpp[0],
            mpp_y=mpp[1],
            power=None,
        )

    def read(
        self, corner: tuple[int, int], size: tuple[int, int], *, level: int
    ) -> NDArray[np.uint8]:
        """Read pixels of the only level."""
        if level != 0:
            raise ValueError(level)
        return cut(self._pixels, corner, size)

    def close(self) -> None:
        """Release the pixels."""
        self._pixels = self._pixels[:0]


def _n_levels(handle: Any) -> int:
    """Number of levels that show the slide; a plain TIFF may have its macro picture after them."""
    (width, height), *_ = handle.level_dimensions
    if handle.properties.get("openslide.vendor") != PLAIN_TIFF:
        return len(handle.level_dimensions)
    levels = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
    odd = (
        number
        for number, ((columns, rows), scale) in enumerate(levels)
        if max(abs(columns - width / scale), abs(rows - height / scale)) > ROUNDING_PX
    )
    return next(odd, len(handle.level_dimensions))


def number(value: Any) -> float | None:
    """Convert to a finite number; None if that is impossible."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _stated_mpp(properties: Mapping[str, str]) -> Mpp:
    """Resolution that a slide states, or that its TIFF tags plausibly mean."""
    mpp_x = number(properties.get("openslide.mpp-x"))
    mpp_y = number(properties.get("openslide.mpp-y"))
    if properties.get("openslide.vendor") == PLAIN_TIFF:  # from the tags, may be anything
        return plausible(mpp_x, mpp_y)
    if mpp_x is not None and mpp_y is not None:
        return mpp_x, mpp_y
    pixels = [number(properties.get(f"tiff.{axis}Resolution")) for axis in "XY"]
    return tag_mpp(pixels, unit=UNITS.get(properties.get("tiff.ResolutionUnit", ""), 0))
