"""Tables of MCAT and PORPOISE: one row per slide, columns `GENE_rnaseq`, z-scored per cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gimp_plugin.cohort.importing.files import opened_text
from gimp_plugin.cohort.importing.grid import read_grid
from gimp_plugin.cohort.importing.report import Count
from gimp_plugin.cohort.importing.source import NAMED_BY, Source, reader_of
from gimp_plugin.cohort.scales import STANDARDISED
from gimp_plugin.errors import CohortError
from gimp_plugin.keys import CASE_ID, SLIDE_ID

RNA, CNV, MUTATION = "_rnaseq", "_cnv", "_mut"
LABEL_KEY = "oncotree_code"
SLIDE_SUFFIX = ".svs"
WARNING = (
    "%s is z-scored per cohort: a gene that is not expressed has a different constant in each "
    "cohort, and one such gene tells the cohorts apart (LUAD from LUSC with an AUC of .99). Take "
    "the expression before the z-score (GDC, Xena, cBioPortal) if the class is the cohort"
)
"""Measured on the public tables of TCGA-LUAD and TCGA-LUSC."""


def is_porpoise(header: list[str]) -> bool:
    """Whether a header is that of an MCAT or PORPOISE table."""
    return CASE_ID in header and any(name.endswith(RNA) for name in header)


def porpoise_source(path: Path) -> Source:
    """Open a table of MCAT or PORPOISE; the rows of a case, one per slide, become one.

    Columns of copy numbers and mutations are skipped. All slides of the case are in the column
    `slide_id`, joined by `;`.

    Parameters
    ----------
    path
        `tcga_<x>_all_clean.csv` or `.csv.zip`.

    Returns
    -------
    The source, declared as standardised.

    Raises
    ------
    CohortError
        If it is not such a table.
    """
    where = repr(str(path))
    header = _header(path)
    if not is_porpoise(header):
        problem = f"{where} is not a table of MCAT or PORPOISE"
        raise CohortError(problem, hint=f"expected {CASE_ID} and columns GENE{RNA}")
    apart = [one for one in header if one and not one.endswith((RNA, CNV, MUTATION))]
    grid = read_grid(
        path,
        beside=[one for one in apart if one not in {CASE_ID, "Unnamed: 0"}],
        names=CASE_ID,
        unread=lambda one: one.endswith((CNV, MUTATION)),
    )
    firsts, slides = _distinct(grid.rows, grid.numbers, grid.beside.get(SLIDE_ID, []))
    obs = pd.DataFrame(grid.beside, dtype=object, index=range(len(grid.rows))).iloc[firsts]
    obs = obs.reset_index(drop=True)
    if slides:
        obs[SLIDE_ID] = slides
    n_other = sum(one.endswith((CNV, MUTATION)) for one in header)
    return Source(
        format="porpoise",
        where=where,
        files=(path,),
        sample_ids=tuple(grid.rows[row] for row in firsts),
        case_ids=tuple(grid.rows[row] for row in firsts),
        genes=pd.DataFrame(
            {"gene_id": [one.removesuffix(RNA) for one in grid.columns]}, dtype=object
        ),
        read=reader_of(grid.numbers[firsts]),
        obs=obs,
        scale=STANDARDISED,
        label_key=LABEL_KEY if LABEL_KEY in obs else None,
        counts=(
            Count(
                "expression, no copy number or mutation",
                "columns",
                n_other + len(grid.columns),
                len(grid.columns),
            ),
            Count("one row for all slides of a sample", "rows", len(grid.rows), len(firsts)),
        ),
        warnings=(WARNING % where,),
        notes={NAMED_BY: CASE_ID},
    )


def _header(path: Path) -> list[str]:
    """Names of the columns."""
    with opened_text(path) as file:
        return [name.strip().strip('"') for name in next(iter(file), "").split(",")]


def _distinct(
    cases: tuple[str, ...], values: np.ndarray, slides: list[str]
) -> tuple[list[int], list[str]]:
    """First row of each distinct case and expression, and the slides of all equal rows."""
    rows: dict[tuple[str, bytes], list[int]] = {}
    for row, case_id in enumerate(cases):
        rows.setdefault((case_id, values[row].tobytes()), []).append(row)
    firsts = [same[0] for same in rows.values()]
    if not slides:
        return firsts, []
    names = [[slides[row].removesuffix(SLIDE_SUFFIX) for row in same] for same in rows.values()]
    return firsts, [";".join(sorted(dict.fromkeys(one))) for one in names]
