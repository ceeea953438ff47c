"""Opening a slide: TIAToolbox's readers first, OpenSlide where they fail."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.finding import slide_parts

MIN_MPP, MAX_MPP = 0.05, 20.0
MPP_WARNING, MPP_REFUSAL = 0.02, 0.10
MAX_SIDE = 2_000_000
MAX_ASPECT = 1_000
TILE_CACHE_BYTES = 128 << 20
MICRONS_PER = {"centimeter": 1e4, "inch": 25_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideInfo:
    """The few properties of a slide that are ever read; nothing of the patient is among them.

    Parameters
    ----------
    reader
        What reads it: `tiatoolbox.<class>` or `openslide`.
    vendor
        Maker of the format, as the reader names it.
    width, height
        Level 0, in pixels.
    downsamples
        Of each level against level 0.
    mpp_x, mpp_y
        Microns per pixel at level 0; None when the slide does not say.
    power
        Objective power; None when the slide does not say.
    """

    reader: str
    vendor: str
    width: int
    height: int
    downsamples: tuple[float, ...]
    mpp_x: float | None
    mpp_y: float | None
    power: float | None


class Source(Protocol):
    """An open slide."""

    @property
    def info(self) -> SlideInfo:
        """What the slide says of itself."""
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
    """A slide that OpenSlide reads, by itself or under TIAToolbox's reader."""

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
            downsamples=tuple(float(value) for value in handle.level_downsamples),
            mpp_x=mpp_x,
            mpp_y=mpp_y,
            power=_number(properties.get("openslide.objective-power")),
        )

    def read(
        self, corner: tuple[int, int], size: tuple[int, int], *, level: int
    ) -> NDArray[np.uint8]:
        """Read pixels; what the scanner left out is white."""
        import cv2  # copies the colours ten times faster than a slice does

        pixels = np.asarray(self._handle.read_region(corner, level, size))
        alpha = pixels[..., 3]
        if alpha.min() == 255:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), np.uint8)
        opacity = alpha[..., None].astype(np.uint16)
        over_white = (pixels[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255
        return over_white.astype(np.uint8)

    def close(self) -> None:
        """Close the slide's files."""
        self._handle.close()


class ToolboxSource:
    """A slide that one of TIAToolbox's own readers reads."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        info = reader.info
        mpp_x, mpp_y = _plausible(*((None, None) if info.mpp is None else map(_number, info.mpp)))
        self.info = SlideInfo(
            reader=f"tiatoolbox.{type(reader).__name__}",
            vendor=str(info.vendor or "unknown"),
            width=int(info.slide_dimensions[0]),
            height=int(info.slide_dimensions[1]),
            downsamples=tuple(float(value) for value in info.level_downsamples),
            mpp_x=mpp_x,
            mpp_y=mpp_y,
            power=None,  # these readers may have guessed it from the resolution
        )

    def read(
        self, corner: tuple[int, int], size: tuple[int, int], *, level: int
    ) -> NDArray[np.uint8]:
        """Read pixels through the reader's own level."""
        pixels = np.asarray(self._reader.read_rect(corner, size, resolution=level, units="level"))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] < 3:
            problem = f"the slide has pixels of shape {pixels.shape} and type {pixels.dtype}"
            raise SlideError(f"{problem}, expected 8-bit RGB", hint="convert it")
        return pixels[..., :3]

    def close(self) -> None:
        """Close the slide's files, where the reader keeps them open."""
        for name in ("_zarr_store", "tiff"):  # TIAToolbox closes neither
            file = getattr(self._reader, name, None)
            if file is not None:
                file.close()


def open_source(path: Path) -> closing[Source]:
    """Open a slide with the first reader that can.

    Parameters
    ----------
    path
        A slide file, or a folder of DICOM files.

    Returns
    -------
    The open slide as a context that closes it.

    Raises
    ------
    SlideError
        If no reader opens it, or its dimensions are out of bounds.
    """
    reasons = []
    for attempt in (_open_with_toolbox, _open_with_openslide):
        try:
            source = attempt(path)
        except Exception as error:  # noqa: BLE001  # a decoder may raise anything on a bad file
            reasons.append(f"{type(error).__name__}: {error}")
            continue
        try:
            _check_size(path, source.info)
        except SlideError:
            source.close()
            raise
        return closing(source)
    reason = _first_line(reasons[-1]).replace(str(path), path.name)
    raise SlideError(
        f"no reader opens {str(path)!r}: {reason}",
        hint="damaged, or a format that neither TIAToolbox nor OpenSlide reads",
    )


def resolution(info: SlideInfo, *, given: float) -> tuple[float, float, str]:
    """Microns per pixel of a slide, and where they come from.

    Parameters
    ----------
    info
        What the slide says.
    given
        What the user says, for a slide that does not; 0 when unknown.

    Returns
    -------
    Microns per pixel in x and y, and `slide` or `given`.

    Raises
    ------
    SlideError
        If nobody says, or the slide says what no scanner does.
    """
    if info.mpp_x is None or info.mpp_y is None:
        if given:
            return given, given, "given"
        power = "" if info.power is None else f" (objective power {info.power:g} is no substitute)"
        raise SlideError(
            f"the slide states no microns per pixel{power}",
            hint="give --slide-mpp, or a column mpp in --slide-table",
        )
    for value in (info.mpp_x, info.mpp_y):
        if not MIN_MPP <= value <= MAX_MPP:
            problem = f"the slide states mpp={value:g}, expected {MIN_MPP:g} to {MAX_MPP:g}"
            raise SlideError(problem, hint="correct the file; --slide-mpp does not override it")
    if abs(info.mpp_x / info.mpp_y - 1) > MPP_REFUSAL:
        problem = f"the slide states mpp={info.mpp_x:g} in x and {info.mpp_y:g} in y"
        raise SlideError(problem, hint="pixels that far from square are not supported")
    return info.mpp_x, info.mpp_y, "slide"


def _open_with_toolbox(path: Path) -> Source:
    """Open with TIAToolbox; what OpenSlide reads underneath is read without its detour."""
    from tiatoolbox.wsicore.wsireader import OpenSlideWSIReader, WSIReader

    reader = WSIReader.open(path)
    if isinstance(reader, OpenSlideWSIReader):
        return OpenSlideSource(reader.openslide_wsi, "tiatoolbox.OpenSlideWSIReader")
    return ToolboxSource(reader)


def _open_with_openslide(path: Path) -> Source:
    """Open with OpenSlide, which takes one file of a DICOM slide for the whole."""
    import openslide

    return OpenSlideSource(openslide.OpenSlide(slide_parts(path)[0]), "openslide")


def _check_size(path: Path, info: SlideInfo) -> None:
    """Refuse dimensions that no scanner makes."""
    short, long = sorted((info.width, info.height))
    if short < 1 or long > MAX_SIDE or long > MAX_ASPECT * short:
        problem = f"{str(path)!r} is {info.width} x {info.height} pixels"
        raise SlideError(f"{problem}, which no scanner makes", hint="damaged?")


def _stated_mpp(properties: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Resolution that a slide states, or that its TIFF resolution plausibly means."""
    mpp_x = _number(properties.get("openslide.mpp-x"))
    mpp_y = _number(properties.get("openslide.mpp-y"))
    if mpp_x is not None and mpp_y is not None:
        return mpp_x, mpp_y
    microns = MICRONS_PER.get(properties.get("tiff.ResolutionUnit", ""))
    pixels = [_number(properties.get(f"tiff.{axis}Resolution")) for axis in "XY"]
    if microns is None or not all(pixels):
        return None, None
    return _plausible(*(microns / value for value in pixels if value))


def _plausible(mpp_x: float | None, mpp_y: float | None) -> tuple[float | None, float | None]:
    """Give a resolution that may come from a printer's or screen's tags, or None for those."""
    if all(value is not None and MIN_MPP <= value <= MAX_MPP for value in (mpp_x, mpp_y)):
        return mpp_x, mpp_y
    return None, None


def _number(value: Any) -> float | None:
    """Finite number, or None where there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _first_line(text: str) -> str:
    """First line of a reader's message."""
    return text.splitlines()[0][:300] if text else "no reason given"
