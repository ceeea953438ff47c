"""The case of each slide, from a table, from the cohort, or from the names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from gimp_plugin.cohort.ids import same_case, tcga_case
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.cohort.tables import read_table
from gimp_plugin.errors import PairingError, listed
from gimp_plugin.keys import CASE_ID, SLIDE_ID

PATIENT, FILENAME, BAG = "PATIENT", "FILENAME", ".h5"
"""Columns of STAMP's slide table, and the suffix of its file names."""


def read_slide_table(path: Path) -> dict[str, str]:
    """Read the case of each slide from a CSV `slide_id,case_id` or STAMP's `PATIENT,FILENAME`.

    Other columns are ignored. STAMP's FILENAME is that of a feature file.

    Parameters
    ----------
    path
        The table.

    Returns
    -------
    Case id by slide id, as spelled in the table.

    Raises
    ------
    MissingFileError
        If there is no such file.
    PairingError
        If a column is missing, a cell is empty, or a slide has two cases.
    """
    rows = read_table(path, required=(), optional=(SLIDE_ID, CASE_ID), error=PairingError)
    if {PATIENT, FILENAME} <= set(rows[0]) and SLIDE_ID not in rows[0]:
        rows = read_table(path, required=(PATIENT, FILENAME), error=PairingError)
        named = ((PurePosixPath(row[FILENAME]).name, row[PATIENT]) for row in rows)
        return one_case_each(
            ((n.removesuffix(BAG), case) for n, case in named), where=repr(str(path))
        )
    rows = read_table(path, required=(SLIDE_ID, CASE_ID), error=PairingError)
    return one_case_each(((row[SLIDE_ID], row[CASE_ID]) for row in rows), where=repr(str(path)))


def slides_of_obs(obs_slides: Mapping[str, object], *, where: str = "obs") -> dict[str, str]:
    """Return the case of each slide, from the column `slide_id` of `obs`.

    Parameters
    ----------
    obs_slides
        Cell of each case: one slide id, several joined by `;`, or nothing. A whole number is also
        a slide id.
    where
        Name of the source, for messages.

    Returns
    -------
    Case id by slide id.

    Raises
    ------
    PairingError
        If a slide has two cases.
    """
    cells = {case: text_of(cell) for case, cell in obs_slides.items() if not is_missing(cell)}
    pairs = (
        (slide_id.strip(), case_id)
        for case_id, cell in cells.items()
        for slide_id in cell.split(";")
        if slide_id.strip()
    )
    return one_case_each(pairs, where=where)


def cases_by_name(slide_ids: Sequence[str], case_ids: Collection[str]) -> dict[str, str]:
    """Return the case of each slide: that of an equal name, else the TCGA case it begins with.

    A slide that names no case gets a case of its own name.

    Returns
    -------
    Case id by slide id.
    """
    return {
        slide_id: slide_id if slide_id in case_ids else same_case(slide_id)
        for slide_id in slide_ids
    }


def known_case(case_id: str, case_ids: Collection[str], by_patient: Mapping[str, list[str]]) -> str:
    """Return the cohort's spelling of a case: the same, else one of the same TCGA patient.

    Returns
    -------
    The cohort's spelling, or `case_id` itself if the cohort has neither.

    Raises
    ------
    PairingError
        If the cohort has several rows of that patient.
    """
    if case_id in case_ids or tcga_case(case_id) is None:
        return case_id
    rows = by_patient.get(same_case(case_id), [])
    if len(rows) > 1:
        problem = f"{case_id!r} matches several rows of the cohort: {listed(rows)}"
        hint = "TCGA names are compared by their first 12 characters; give --slide-table with the"
        raise PairingError(problem, hint=f"{hint} full ids, or keep one row per patient")
    return rows[0] if rows else case_id


def rows_by_patient(case_ids: Iterable[str]) -> dict[str, list[str]]:
    """Rows of the cohort by patient."""
    rows: dict[str, list[str]] = defaultdict(list)
    for case_id in case_ids:
        rows[same_case(case_id)].append(case_id)
    return rows


def one_case_each(pairs: Iterable[tuple[str, str]], *, where: str) -> dict[str, str]:
    """Case by slide; refuse a slide of two cases."""
    case_of: dict[str, str] = {}
    for slide_id, case_id in pairs:
        if case_of.setdefault(slide_id, case_id) != case_id:
            problem = f"{where} gives slide {slide_id!r} to {case_of[slide_id]!r} and {case_id!r}"
            raise PairingError(problem, hint="a slide belongs to one case")
    return case_of
