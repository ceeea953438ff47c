"""Resolutions from a slide table, for slides that do not state theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from gimp_plugin.cohort.slide_names import without_suffix
from gimp_plugin.cohort.tables import read_table
from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import SlideError
from gimp_plugin.keys import SLIDE_ID
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.sources import MAX_MPP, MIN_MPP

MPP = "mpp"


def read_slide_mpps(path: Path) -> dict[str, float]:
    """Read the resolutions of slides from the column `mpp` of a slide table.

    Parameters
    ----------
    path
        A CSV with a column `slide_id`. The column `mpp` may be missing or have empty cells. A slide
        may be spelled with its suffix.

    Returns
    -------
    Microns per pixel by slide id, for slides with a value.

    Raises
    ------
    SlideError
        If a cell is not a number or out of range, or two rows of a slide differ.
    """
    rows = read_table(path, required=(), optional=(SLIDE_ID, MPP), error=SlideError)
    if MPP not in rows[0]:
        return {}
    rows = read_table(path, required=(SLIDE_ID,), optional=(MPP,), error=SlideError)
    cells = [(row[SLIDE_ID], _mpp(row[MPP], row[SLIDE_ID], path)) for row in rows if row[MPP]]
    told = _one_each(cells, path)
    bare = ((without_suffix(name), mpp) for name, mpp in cells)
    return {**_one_each(((name, mpp) for name, mpp in bare if name not in told), path), **told}


def given_mpp(slide: SlideFile, config: ExtractionConfig, table: Mapping[str, float]) -> float:
    """Return the resolution of a slide given by the user.

    Parameters
    ----------
    slide
        The slide.
    config
        Its `slide_mpp` applies to all slides that the table does not name.
    table
        Microns per pixel by slide id.

    Returns
    -------
    Microns per pixel; 0 if none is given.
    """
    return table.get(slide.slide_id, config.slide_mpp)


def _one_each(pairs: Iterable[tuple[str, float]], path: Path) -> dict[str, float]:
    """Resolution by slide; refuse two different ones of a slide."""
    told: dict[str, float] = {}
    for slide_id, mpp in pairs:
        if told.setdefault(slide_id, mpp) != mpp:
            problem = f"{str(path)!r} gives slide {slide_id!r} mpp {told[slide_id]:g} and {mpp:g}"
            raise SlideError(problem, hint="give each slide one resolution")
    return told


def _mpp(cell: str, slide_id: str, path: Path) -> float:
    """Convert one cell to a number."""
    try:
        mpp = float(cell)
    except ValueError:
        mpp = float("nan")
    if not MIN_MPP <= mpp <= MAX_MPP:
        problem = f"{str(path)!r}: slide {slide_id!r} has mpp {cell!r}"
        raise SlideError(problem, hint=f"give a number from {MIN_MPP:g} to {MAX_MPP:g}")
    return mpp
