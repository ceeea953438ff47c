"""Open each kind of slide with a reader that reads regions of it correctly.

TIAToolbox chooses among its readers. OpenSlide reads plain TIFFs, because TIAToolbox would decode
the whole pyramid and lose its resolution, and slides that TIAToolbox cannot open.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.decoders import (
    OpenSlideSource,
    PictureSource,
    SlideInfo,
    Source,
    ToolboxSource,
)
from gimp_plugin.slides.finding import slide_parts
from gimp_plugin.slides.pictures import read_picture
from gimp_plugin.slides.tags import TiffHead, read_head

__all__ = ["SlideInfo", "Source", "open_source", "resolution"]

MIN_MPP, MAX_MPP = 0.05, 20.0
MPP_WARNING, MPP_REFUSAL = 0.02, 0.10
MAX_SIDE = 2_000_000
MAX_ASPECT = 1_000
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
JPEG2000_SUFFIX = ".jp2"
"""TIAToolbox reads regions of it if the OpenJPEG library is installed; Pillow decodes it whole."""

QPTIFF_SUFFIX = ".qptiff"
TIFF_SUFFIXES = (".tif", ".tiff", QPTIFF_SUFFIX)

Opener = Callable[[Path], Source]


def open_source(path: Path) -> closing[Source]:
    """Open a slide with the first reader that can.

    Parameters
    ----------
    path
        A slide file, or a folder of DICOM files.

    Returns
    -------
    The open slide, as a context manager that closes it.

    Raises
    ------
    SlideError
        If no reader opens it, or its dimensions are out of bounds.
    """
    reasons = []
    for attempt in _openers(path):
        try:
            source = attempt(path)
        except (SlideError, MemoryError):
            raise
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
        f"no reader can open {str(path)!r}: {reason}",
        hint="it is damaged, or in a format that neither TIAToolbox nor OpenSlide reads",
    )


def resolution(info: SlideInfo, *, given: float) -> tuple[float, float, str]:
    """Return the resolution of a slide, and its source.

    Parameters
    ----------
    info
        Properties that the slide states.
    given
        Resolution given by the user for a slide that does not state it; 0 if unknown.

    Returns
    -------
    Microns per pixel in x and y, and `slide` or `given`.

    Raises
    ------
    SlideError
        If there is none, or the slide states an impossible one.
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
        raise SlideError(problem, hint="pixels that are so far from square are not supported")
    return info.mpp_x, info.mpp_y, "slide"


def _openers(path: Path) -> tuple[Opener, ...]:
    """Ways to open a slide, the best first."""
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return (_open_picture,)
    if suffix == JPEG2000_SUFFIX:
        return (_open_with_toolbox, _open_picture)
    if suffix not in TIFF_SUFFIXES or path.is_dir():
        return (_open_with_toolbox, _open_with_openslide)
    head = _head(path)
    if head is None:
        return (_open_with_openslide, _open_with_toolbox)
    return _tiff_openers(head, suffix=suffix)


def _tiff_openers(head: TiffHead, *, suffix: str) -> tuple[Opener, ...]:
    """Ways to open a TIFF whose tags are known."""

    def with_toolbox(path: Path) -> Source:
        return _open_with_toolbox(path, head=head)

    if head.ome:
        return (with_toolbox,)
    if head.nested or suffix == QPTIFF_SUFFIX:
        return (with_toolbox, _open_with_openslide)
    if head.tiled:
        return (_open_with_openslide, with_toolbox)
    return (_open_with_openslide, lambda path: PictureSource(read_picture(path), mpp=head.mpp))


def _head(path: Path) -> TiffHead | None:
    """Tags of a TIFF, or None if tifffile cannot read them."""
    try:
        return read_head(path)
    except SlideError:
        raise
    except Exception:  # noqa: BLE001  # a decoder may raise anything on a bad file
        return None


def _open_picture(path: Path) -> Source:
    """Decode a picture; its resolution is ignored, as it is meant for paper or screens."""
    return PictureSource(read_picture(path), mpp=(None, None))


def _open_with_toolbox(path: Path, *, head: TiffHead | None = None) -> Source:
    """Open with TIAToolbox; if OpenSlide reads the slide underneath, use it directly."""
    from tiatoolbox.wsicore.wsireader import OpenSlideWSIReader, WSIReader

    reader = WSIReader.open(path)
    if isinstance(reader, OpenSlideWSIReader):
        return OpenSlideSource(reader.openslide_wsi, "tiatoolbox.OpenSlideWSIReader")
    return ToolboxSource(reader, mpp=None if head is None else head.mpp)


def _open_with_openslide(path: Path) -> Source:
    """Open with OpenSlide, which opens a DICOM slide by one of its files."""
    import openslide

    return OpenSlideSource(openslide.OpenSlide(slide_parts(path)[0]), "openslide")


def _check_size(path: Path, info: SlideInfo) -> None:
    """Refuse dimensions that no scanner produces."""
    short, long = sorted((info.width, info.height))
    if short < 1 or long > MAX_SIDE or long > MAX_ASPECT * short:
        problem = f"{str(path)!r} is {info.width} x {info.height} pixels"
        raise SlideError(f"{problem}, which no scanner makes", hint="damaged?")


def _first_line(text: str) -> str:
    """First line of a reader's message."""
    return text.splitlines()[0][:300] if text else "no reason given"
