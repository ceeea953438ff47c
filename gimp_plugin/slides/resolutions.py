"""Resolutions that a slide table gives for slides that do not state theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gimp_plugin.cohort.tables import read_table
from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import SlideError
from gimp_plugin.keys import SLIDE_ID
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.sources import MAX_MPP, MIN_MPP

MPP = "mpp"


def read_slide_mpps(path: Path) -> dict[str, float]:
    """Microns per pixel by slide id, from the column `mpp` of a slide table.

    Parameters
    ----------
    path
        A CSV with a column `slide_id`; without a column `mpp`, or where its cell is empty, nothing
        is said of a slide.

    Returns
    -------
    Microns per pixel of some slides.

    Raises
    ------
    SlideError
        If a cell is no number, or out of range.
    """
    rows = read_table(path, required=(SLIDE_ID,), error=SlideError)
    cells = {row[SLIDE_ID]: row[MPP] for row in rows if row.get(MPP)}
    return {slide_id: _mpp(cell, slide_id, path) for slide_id, cell in cells.items()}


def given_mpp(slide: SlideFile, config: ExtractionConfig, table: Mapping[str, float]) -> float:
    """What the user says of a slide's resolution.

    Parameters
    ----------
    slide
        The slide.
    config
        Its `slide_mpp` holds for all slides that the table does not name.
    table
        Microns per pixel by slide id.

    Returns
    -------
    Microns per pixel; 0 for nothing.
    """
    return table.get(slide.slide_id, config.slide_mpp)


def _mpp(cell: str, slide_id: str, path: Path) -> float:
    """One cell as a number."""
    try:
        mpp = float(cell)
    except ValueError:
        mpp = float("nan")
    if not MIN_MPP <= mpp <= MAX_MPP:
        problem = f"{str(path)!r}: slide {slide_id!r} has mpp {cell!r}"
        raise SlideError(problem, hint=f"give a number from {MIN_MPP:g} to {MAX_MPP:g}")
    return mpp
