"""The site that each case comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gimp_plugin.cohort.ids import tcga_case
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.errors import SplitError, counted, did_you_mean, listed

if TYPE_CHECKING:
    import pandas as pd


def tcga_sites(case_ids: Iterable[str]) -> dict[str, str]:
    """Return the tissue source site of TCGA cases: characters 6 and 7 of the barcode.

    Parameters
    ----------
    case_ids
        The cases.

    Returns
    -------
    Site by case id.

    Raises
    ------
    SplitError
        If a case is not named by a TCGA barcode.
    """
    barcodes = {case_id: tcga_case(case_id) for case_id in case_ids}
    others = [case_id for case_id, barcode in barcodes.items() if barcode is None]
    if others:
        told = counted(len(others), "case has", "cases have")
        problem = f"{told} no TCGA barcode to read a site from: {listed(others)}"
        raise SplitError(problem, hint="give --site-key with the column that has the site")
    return {case_id: barcode[5:7] for case_id, barcode in barcodes.items() if barcode}


def sites_from_column(obs: pd.DataFrame, column: str, case_ids: Iterable[str]) -> dict[str, str]:
    """Return the sites of cases from a column.

    Parameters
    ----------
    obs
        Table of the cases.
    column
        Column with the sites.
    case_ids
        The cases.

    Returns
    -------
    Site by case id, as text.

    Raises
    ------
    SplitError
        If there is no such column, or a case has no site.
    """
    if column not in obs.columns:
        known = [str(name) for name in obs.columns]
        problem = f"--site-key {column!r}: obs has no such column{did_you_mean(column, known)}"
        raise SplitError(problem, hint=f"it has {listed(known, limit=9)}")
    cells = dict(zip(map(str, obs.index), obs[column].tolist(), strict=True))
    wanted = {case_id: cells[case_id] for case_id in case_ids}
    bare = [case_id for case_id, cell in wanted.items() if is_missing(cell)]
    if bare:
        told = counted(len(bare), "case has", "cases have")
        problem = f"--site-key {column!r}: {told} no site: {listed(bare)}"
        raise SplitError(problem, hint="fill the column, or leave these cases out")
    return {case_id: text_of(cell) for case_id, cell in wanted.items()}
