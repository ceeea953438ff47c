"""Tables of expression: those of Xena and cBioPortal, and any other matrix."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from gimp_plugin.cohort.ids import tcga_aliquot
from gimp_plugin.cohort.importing.grid import GENE_COLUMNS, Grid, read_grid
from gimp_plugin.cohort.importing.orientation import orientation_of
from gimp_plugin.cohort.importing.rules import GENES_BY_CASES, ImportRules
from gimp_plugin.cohort.importing.sheets import PROJECT
from gimp_plugin.cohort.importing.source import NAMED_BY, Source, reader_of
from gimp_plugin.cohort.importing.tables import check_header
from gimp_plugin.cohort.scales import STANDARDISED
from gimp_plugin.errors import CohortError
from gimp_plugin.keys import LABEL

SYMBOL, ENTREZ = "Hugo_Symbol", "Entrez_Gene_Id"
_PROJECT = re.compile(r"TCGA-[A-Z]{2,4}(?=[._])")
_TOIL = (
    "%s has negative values, as log2(x + 0.001) of the Toil recompute has: read as 'log' with an "
    "unknown offset"
)
_ZSCORES = (
    "%s holds z-scores that cBioPortal computed over this study: a model trained on them does not "
    "carry over to another study, and two studies side by side are not comparable"
)


def matrix_source(path: Path, rules: ImportRules) -> Source:
    """Open any table with genes on one side and cases on the other.

    Parameters
    ----------
    path
        The table.
    rules
        `orientation`, `case_key`, `label_key` and `obs_columns` are used.

    Returns
    -------
    The source, its values in memory.

    Raises
    ------
    CohortError
        If it is not such a table, or genes cannot be distinguished from cases.
    """
    keys = [key for key in (rules.case_key, rules.label_key) if key is not None]
    grid = read_grid(path, beside=rules.obs_columns, also=keys)
    orientation, reason = orientation_of(
        grid.rows, grid.columns, corner=grid.corner, asked=rules.orientation, where=grid.where
    )
    notes = {"orientation": f"{orientation}: {reason}"}
    if orientation == GENES_BY_CASES:
        return _genes_by_cases(path, grid, format_="matrix", notes=notes)
    return _cases_by_genes(path, grid, notes=notes)


def xena_source(path: Path, rules: ImportRules) -> Source:
    """Open a table of a UCSC Xena hub: genes by samples, log2(x + 1).

    Returns
    -------
    The source, its values in memory.

    Raises
    ------
    CohortError
        If it is not such a table.
    """
    grid = read_grid(path, beside=rules.obs_columns)
    source = _genes_by_cases(path, grid, format_="xena")
    if _lowest(grid) >= 0:
        return replace(source, scale="log2")
    return replace(source, scale="log", warnings=(_TOIL % source.where,))


def cbioportal_source(path: Path, rules: ImportRules) -> Source:
    """Open a table of cBioPortal such as `data_mrna_seq_v2_rsem.txt`, linear or z-scores.

    Genes are named by their Hugo symbol; rows without one are left out later, as genes without a
    name. If a table has only `Entrez_Gene_Id`, that is the name.

    Returns
    -------
    The source, its values in memory.

    Raises
    ------
    CohortError
        If it is not such a table.
    """
    source = _genes_by_cases(path, read_grid(path, beside=rules.obs_columns), format_="cbioportal")
    if "zscore" in path.name.lower():
        return replace(source, scale=STANDARDISED, warnings=(_ZSCORES % source.where,))
    known = next((unit for unit in ("fpkm", "tpm") if unit in path.name.lower()), "linear")
    return replace(source, scale=known)


def is_cbioportal(header: list[str]) -> bool:
    """Whether a header is that of a cBioPortal table."""
    return header[0] in {SYMBOL, ENTREZ}


def is_xena(header: list[str], delimiter: str) -> bool:
    """Whether a header is that of a Xena table: tabs, Xena's first column, TCGA samples."""
    if delimiter != "\t" or header[0] not in {"Ensembl_ID", "sample", "xena_sample"}:
        return False
    aliquots = [tcga_aliquot(name) for name in header[1:]]
    return any(one is not None and one.code is not None for one in aliquots)


def _genes_by_cases(
    path: Path, grid: Grid, *, format_: str, notes: dict[str, str] | None = None
) -> Source:
    """Make a source of a table with one row per gene."""
    check_header(f"the header of {grid.where}", list(grid.columns))
    if "" in grid.columns:
        place = grid.columns.index("") + 1
        raise CohortError(f"{grid.where}: column {place} of numbers has no name")
    genes = pd.DataFrame({"gene_id": grid.rows}, dtype=object)
    for name, cells in grid.beside.items():
        ours = GENE_COLUMNS.get(name.lower())
        if ours is None:
            problem = f"{grid.where} has one row a gene, and a column {name!r} that describes cases"
            raise CohortError(problem, hint="remove the column, or give --orientation")
        genes[ours] = cells
    obs = pd.DataFrame(index=range(len(grid.columns)))
    source = Source(
        format=format_,
        where=grid.where,
        files=(path,),
        sample_ids=grid.columns,
        genes=genes,
        read=reader_of(grid.numbers.T),
        obs=obs,
        notes=notes or {},
    )
    return _of_project(source, path)


def _cases_by_genes(path: Path, grid: Grid, *, notes: dict[str, str]) -> Source:
    """Make a source of a table with one row per case."""
    obs = pd.DataFrame(grid.beside, index=range(len(grid.rows)), dtype=object)
    source = Source(
        format="matrix",
        where=grid.where,
        files=(path,),
        sample_ids=grid.rows,
        genes=pd.DataFrame({"gene_id": grid.columns}, dtype=object),
        read=reader_of(grid.numbers),
        obs=obs,
        label_key=LABEL if LABEL in obs else None,
        notes={**notes, NAMED_BY: grid.corner},
    )
    return _of_project(source, path)


def _of_project(source: Source, path: Path) -> Source:
    """Add the project if the file name has it, as in `TCGA-LUAD.star_fpkm.tsv.gz`."""
    found = _PROJECT.match(path.name)
    if found is None or PROJECT in source.obs:
        return source
    obs = source.obs.assign(**{PROJECT: pd.Series(found[0], index=source.obs.index, dtype=object)})
    return replace(source, obs=obs, label_key=source.label_key or PROJECT)


def _lowest(grid: Grid) -> float:
    """Lowest value that is not missing."""
    return float(np.nanmin(grid.numbers)) if np.isfinite(grid.numbers).any() else 0.0
