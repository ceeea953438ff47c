"""Slides of several files: which files belong to a slide, and whether one is missing."""

from __future__ import annotations

import configparser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gimp_plugin.errors import SlideError, listed

WHOLE_SLIDE_IMAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class of DICOM's whole-slide images."""

DICOM_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "ImageType", "NumberOfFrames", "Rows", "Columns",
    "TotalPixelMatrixRows", "TotalPixelMatrixColumns", "DimensionOrganizationType",
    "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths", "ConcatenationUID",
    "InConcatenationNumber", "InConcatenationTotalNumber",
]  # fmt: skip
"""The only DICOM elements that are read; none is about the patient."""

INI_SUFFIXES = (".vms", ".vmu")
MAX_INI_BYTES = 16 << 20


def companions(path: Path) -> list[Path]:
    """Return the files that a slide's main file refers to; they need not exist.

    Parameters
    ----------
    path
        A slide.

    Returns
    -------
    The files, sorted by name; empty for a slide of one file.
    """
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        folder = path.with_suffix("")
        present = (part for part in _entries(folder) if part.is_file())
        return sorted({*present, folder / "Slidedat.ini", *_named_by_mirax(folder)})
    if suffix in INI_SUFFIXES:
        return sorted(set(_named_by_hamamatsu(path)))
    return []


def check_companions(path: Path, parts: Sequence[Path]) -> None:
    """Refuse a slide that lacks a file, and a folder with more than one DICOM slide.

    Parameters
    ----------
    path
        The slide.
    parts
        The files that the slide consists of.

    Raises
    ------
    SlideError
        If a file is missing (the message names it if it is known), or there are several slides.
    """
    folder = path.with_suffix("")
    if path.suffix.lower() == ".mrxs" and not folder.is_dir():
        problem = f"{str(path)!r} lacks its folder {folder.name!r}, which holds its pixels"
        raise SlideError(problem, hint="copy the folder next to the slide")
    missing = [str(part) for part in parts if not part.exists()]
    if missing:
        raise SlideError(f"{str(path)!r} lacks {listed(missing)}", hint="copy the slide again")
    if odd := [str(part) for part in parts if not part.is_file()]:
        raise SlideError(f"{str(path)!r} has parts that are not files: {listed(odd)}", hint="look")
    if any(part.suffix.lower() == ".dcm" for part in parts):
        _check_dicom(path, parts)


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the contents of a folder; nothing if it is not a folder."""
    return folder.iterdir() if folder.is_dir() else iter(())


def _named_by_mirax(folder: Path) -> Iterator[Path]:
    """Yield the files that a MIRAX slide's `Slidedat.ini` names."""
    ini = _read_ini(folder / "Slidedat.ini")
    names = [ini.get("HIERARCHICAL", "INDEXFILE", fallback="")]
    if ini.has_section("DATAFILE"):
        names += [name for key, name in ini.items("DATAFILE") if key != "file_count"]
    return (folder / name for name in names if name)


def _named_by_hamamatsu(path: Path) -> Iterator[Path]:
    """Yield the files that a `.vms` or `.vmu` names."""
    ini = _read_ini(path)
    for section in ini.sections():
        for key, name in ini.items(section):
            if key.startswith(("imagefile", "mapfile")) and name:
                yield path.parent / name


def _read_ini(path: Path) -> configparser.ConfigParser:
    """Read a file of keys and values; empty for any other file, which the reader will refuse."""
    ini = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=(";", "#"), strict=False, interpolation=None
    )
    try:
        if path.is_file() and path.stat().st_size <= MAX_INI_BYTES:
            ini.read_string(path.read_text("utf-8-sig", errors="replace"))
    except configparser.Error:
        ini.clear()
    return ini


def _check_dicom(path: Path, parts: Sequence[Path]) -> None:
    """Refuse DICOM files that are not a single slide, or an incomplete one."""
    heads = {part: head for part in parts if (head := _dicom_head(part)) is not None}
    if not heads:
        problem = f"{str(path)!r} holds no whole-slide image"
        raise SlideError(problem, hint="expected DICOM's VL Whole Slide Microscopy")
    series = {head.SeriesInstanceUID for head in heads.values()}
    if len(series) > 1:
        problem = f"{str(path)!r} holds {len(series)} DICOM series, expected the files of one slide"
        raise SlideError(problem, hint="put each slide into a folder of its own")
    kinds = [tuple(head.get("ImageType") or ()) for head in heads.values()]
    volumes = [kind for kind in kinds if len(kind) > 3 and kind[2] == "VOLUME"]
    if volumes and all(kind[3] == "RESAMPLED" for kind in volumes):
        problem = f"{str(path)!r} lacks the file of its full resolution: all levels are resampled"
        raise SlideError(problem, hint="copy the slide again")
    _check_concatenations(path, heads)
    for part, head in heads.items():
        _check_frames(part, head)


def _dicom_head(part: Path) -> Any | None:
    """Read the needed elements of a DICOM file; None if it is not a whole-slide image."""
    import pydicom

    try:
        head = pydicom.dcmread(part, stop_before_pixels=True, specific_tags=DICOM_TAGS)
    except Exception as error:  # a parser may raise anything on a bad file
        problem = f"{str(part)!r} is not a DICOM file, or is incomplete ({type(error).__name__})"
        raise SlideError(problem, hint="copy the slide again") from error
    return head if head.get("SOPClassUID") == WHOLE_SLIDE_IMAGE else None


def _check_concatenations(path: Path, heads: dict[Path, Any]) -> None:
    """Refuse a level divided into several files if one of them is missing."""
    found: dict[tuple[str, int], set[int]] = {}
    for head in heads.values():
        if uid := head.get("ConcatenationUID"):
            total = int(head.get("InConcatenationTotalNumber") or 0)
            found.setdefault((uid, total), set()).add(int(head.InConcatenationNumber))
    for (_, total), numbers in found.items():
        if lacking := [str(number) for number in range(1, total + 1) if number not in numbers]:
            problem = f"{str(path)!r} lacks part {listed(lacking)} of {total} of a level"
            raise SlideError(problem, hint="copy the slide again")


def _check_frames(part: Path, head: Any) -> None:
    """Refuse a level that declares fewer tiles than its pixels need."""
    if head.get("DimensionOrganizationType") != "TILED_FULL" or head.get("ConcatenationUID"):
        return
    columns = -(-int(head.TotalPixelMatrixColumns) // int(head.Columns))
    rows = -(-int(head.TotalPixelMatrixRows) // int(head.Rows))
    n_frames = int(head.get("NumberOfFrames") or 1)
    if n_frames < columns * rows:
        problem = f"{str(part)!r} has {n_frames} tiles, but its size needs {columns * rows}"
        raise SlideError(problem, hint="copy the slide again")
