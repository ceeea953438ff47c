"""Read the tags of a TIFF: the layout, kind and size of its pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.errors import SlideError

if TYPE_CHECKING:
    from tifffile import TiffFile

MIN_MPP, MAX_TAG_MPP = 0.05, 5.0
"""Range of resolutions of microscopes; the tags of screens and printers state 10 or more."""

PHOTOMETRICS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 6: "YCbCr"}
OTHER_PHOTOMETRICS = {5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB"}
SAMPLE_FORMATS = {1: "", 2: " signed", 3: " floating-point", 5: " complex", 6: " complex"}
AXES = {"YXS", "SYX", "YX"}
MICRONS_PER_UNIT = {2: 25_400.0, 3: 1e4}
MICRO = "\u00b5"
MICRONS = {
    "": 1.0,
    "nm": 1e-3,
    f"{MICRO}m": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")


@dataclass(frozen=True, slots=True)
class TiffHead:
    """Properties stated by the tags of a TIFF.

    Parameters
    ----------
    tiled
        Whether regions can be read without the rest.
    ome
        Whether it is an OME-TIFF.
    nested
        Whether its levels are sub-pages of the first page, which OpenSlide does not read.
    mpp
        Microns per pixel in x and y, if stated.
    """

    tiled: bool
    ome: bool
    nested: bool
    mpp: tuple[float | None, float | None]


def read_head(path: Path) -> TiffHead:
    """Read the tags of a TIFF's first picture.

    Parameters
    ----------
    path
        A TIFF.

    Returns
    -------
    The properties.

    Raises
    ------
    SlideError
        If its pixels are not 8-bit RGB, grey or palette, as encoders need.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        _check_pixels(path, page)
        if (file.is_ome or file.is_qpi) and (axes := file.series[0].axes) not in AXES:
            problem = f"{str(path)!r} has several channels or planes (axes {axes})"
            raise SlideError(f"{problem}, expected one RGB picture", hint="export it as RGB")
        return TiffHead(
            tiled=page.is_tiled,
            ome=bool(file.is_ome),
            nested=bool(page.subifds),
            mpp=_mpp(file, page),
        )


def plausible(mpp_x: float | None, mpp_y: float | None) -> tuple[float, float] | tuple[None, None]:
    """Return a resolution plausible for a microscope, but None for a screen's or printer's.

    Parameters
    ----------
    mpp_x, mpp_y
        Microns per pixel.

    Returns
    -------
    The same, or None twice.
    """
    if mpp_x is None or mpp_y is None:
        return None, None
    if MIN_MPP <= mpp_x <= MAX_TAG_MPP and MIN_MPP <= mpp_y <= MAX_TAG_MPP:
        return mpp_x, mpp_y
    return None, None


def tag_mpp(
    resolution: Sequence[float | None], *, unit: int
) -> tuple[float, float] | tuple[None, None]:
    """Convert the resolution tags of a TIFF to microns per pixel, if plausible.

    Parameters
    ----------
    resolution
        Pixels per unit in x and y.
    unit
        2 for the inch, 3 for the centimetre.

    Returns
    -------
    Microns per pixel in x and y, or None twice.

    Examples
    --------
    >>> tag_mpp((20_000, 20_000), unit=3), tag_mpp((72, 72), unit=2)
    ((0.5, 0.5), (None, None))
    """
    microns = MICRONS_PER_UNIT.get(unit)
    x, y = (microns / value if microns and value else None for value in resolution)
    return plausible(x, y)


def _check_pixels(path: Path, page: Any) -> None:
    """Refuse pixels without a well-defined conversion to 8-bit RGB."""
    bits, form = int(page.bitspersample), int(page.sampleformat)
    kind = int(page.photometric)
    problem = ""
    if kind not in PHOTOMETRICS:
        problem = f"{OTHER_PHOTOMETRICS.get(kind, f'photometric {kind}')} pixels"
    elif bits != 8 or form != 1:
        problem = f"{bits}-bit{SAMPLE_FORMATS.get(form, '')} pixels"
    if problem:
        problem = f"{str(path)!r} has {problem}, expected 8-bit RGB"
        raise SlideError(problem, hint="convert it")


def _mpp(file: TiffFile, page: Any) -> tuple[float | None, float | None]:
    """Microns per pixel from OME-XML, ImageJ's text, or the resolution tags."""
    if file.is_ome:
        return _ome_mpp(file.ome_metadata or "")
    x, y = (_ratio(page, name) for name in ("XResolution", "YResolution"))
    unit = (file.imagej_metadata or {}).get("unit") if file.is_imagej else None
    if unit is not None and x and y:
        microns = MICRONS.get(str(unit).replace("\\u00B5", MICRO))
        return (None, None) if microns is None else plausible(microns / x, microns / y)
    tag = page.tags.get("ResolutionUnit")
    return tag_mpp((x, y), unit=0 if tag is None else int(tag.value))


def _ome_mpp(text: str) -> tuple[float | None, float | None]:
    """Microns per pixel of the first picture in OME-XML; nothing else in it is read."""
    found = OME_PIXELS.search(text)
    if found is None:
        return None, None
    fields = dict(re.findall(r'(PhysicalSize[XY](?:Unit)?)="([^"]*)"', found.group()))
    sizes: list[float | None] = []
    for axis in "XY":
        unit = fields.get(f"PhysicalSize{axis}Unit", "").replace("\u03bc", MICRO)
        try:
            sizes.append(float(fields[f"PhysicalSize{axis}"]) * MICRONS[unit])
        except (KeyError, ValueError):
            sizes.append(None)
    return sizes[0], sizes[1]


def _ratio(page: Any, name: str) -> float | None:
    """Value of a tag that holds a ratio of two numbers."""
    tag = page.tags.get(name)
    try:
        numerator, denominator = tag.value
        return float(numerator / denominator)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None
