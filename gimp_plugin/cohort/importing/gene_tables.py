"""Annotation of genes: names, biotypes and positions, from GENCODE, Xena or a table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from gimp_plugin.cohort.ids import gene_without_version, is_ensembl
from gimp_plugin.cohort.importing.files import first_lines, opened_text
from gimp_plugin.cohort.importing.report import Count
from gimp_plugin.cohort.importing.tables import read_rows
from gimp_plugin.errors import CohortError, MissingFileError, listed

COLUMNS = ("gene_name", "gene_type", "chromosome", "start", "end", "strand")
"""Columns of `var` that describe a gene; start and end are 1-based, both included."""

_SPELLINGS = {
    "gene_id": ("gene_id", "id", "ensembl_id", "gene id", "gene"),
    "gene_name": ("gene_name", "gene", "symbol", "gene_symbol", "hgnc_symbol", "gene name"),
    "gene_type": ("gene_type", "gene_biotype", "biotype", "type"),
    "chromosome": ("chromosome", "chrom", "chr", "seqname", "seqid"),
    "start": ("start", "chromstart", "start_position"),
    "end": ("end", "chromend", "end_position"),
    "strand": ("strand",),
}
_PLACES = ("start", "end")
_ATTRIBUTE = re.compile(r'(\w+) "?([^";]*)"?')
_STRANDS = {"1": "+", "-1": "-"}


def annotate(genes: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, Count]:
    """Add the annotation of a table to the genes; it replaces what the source says.

    Genes are found by their id without version; if the cohort has symbols, also by a symbol that
    occurs once in the table.

    Parameters
    ----------
    genes
        Table of the cohort's genes, its index their cleaned ids.
    path
        A GENCODE or Ensembl GTF, a probemap of Xena, or a CSV or TSV with a column `gene_id`,
        plain or gzip.

    Returns
    -------
    The table with the columns of `COLUMNS` that are known, and how many genes were found.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CohortError
        If it is not a table of genes, or names none of the cohort's.
    """
    if not path.exists():
        raise MissingFileError(f"no gene table {str(path)!r}", hint="check the path")
    known = _read_gtf(path) if _is_gtf(path) else _read_table(path)
    ids = genes.index.tolist()
    keys = known if any(is_ensembl(name) for name in ids) else {**_by_symbol(known), **known}
    found = [keys.get(name) or keys.get(gene_without_version(name), {}) for name in ids]
    n_found = sum(map(bool, found))
    if not n_found:
        problem = f"{str(path)!r} has none of the {len(ids)} genes, the first of them"
        hint = f"its own genes begin with {listed(list(known)[:3])}"
        raise CohortError(f"{problem} {listed(ids[:3])}", hint=hint)
    table = genes.copy()
    for column in COLUMNS:
        cells = [one.get(column, "") for one in found]
        if any(cells):
            table[column] = _column(column, cells, table.get(column))
    return table, Count("described by --gene-table", "genes", len(ids), n_found)


def _column(column: str, cells: list[str], held: pd.Series | None) -> list[object]:
    """Cells of a column: positions as numbers, others as text with gaps filled from the source."""
    if column in _PLACES:
        numbers = [float(cell) if cell else float("nan") for cell in cells]
        whole = all(cells)
        return [int(number) for number in numbers] if whole else list(numbers)
    before = [""] * len(cells) if held is None else held.tolist()
    return [cell or old for cell, old in zip(cells, before, strict=True)]


def _is_gtf(path: Path) -> bool:
    """Whether a file is a GTF, by its name or its lines."""
    if path.name.lower().removesuffix(".gz").endswith((".gtf", ".gff2")):
        return True
    lines = [line for line in first_lines(path, 12) if not line.startswith("#")]
    return bool(lines) and len(lines[0].split("\t")) == 9 and "gene_id" in lines[0].split("\t")[8]


def _read_gtf(path: Path) -> dict[str, dict[str, str]]:
    """Rows of kind `gene` by their id without version."""
    known: dict[str, dict[str, str]] = {}
    with opened_text(path) as file:
        for number, line in enumerate(file, start=1):
            cells = line.rstrip("\r\n").split("\t")
            if line.startswith("#") or len(cells) != 9 or cells[2] != "gene":
                continue
            told = dict(_ATTRIBUTE.findall(cells[8]))
            for column in (3, 4):
                _check_place(cells[column], f"{str(path)!r}, row {number}, column {column + 1}")
            if "gene_id" in told:
                known[gene_without_version(told["gene_id"])] = {
                    "gene_name": told.get("gene_name", ""),
                    "gene_type": told.get("gene_type") or told.get("gene_biotype", ""),
                    "chromosome": cells[0],
                    "start": cells[3],
                    "end": cells[4],
                    "strand": cells[6],
                }
    if not known:
        raise CohortError(f"{str(path)!r} has no row of kind 'gene' with a gene_id")
    return known


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a table by their id without version."""
    rows = read_rows(path)
    columns = _columns_of(list(rows[0]))
    if "gene_id" not in columns or len(columns) < 2:
        problem = f"{str(path)!r} needs a column 'gene_id' and one of {', '.join(COLUMNS)}"
        raise CohortError(problem, hint=f"it has {listed(rows[0], limit=9)}")
    known: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        told = {name: row[column] for name, column in columns.items()}
        for name in _PLACES:
            if told.get(name):
                _check_place(told[name], f"{str(path)!r}, row {number}, column {columns[name]!r}")
        if "strand" in told:
            told["strand"] = _STRANDS.get(told["strand"], told["strand"])
        known[gene_without_version(told.pop("gene_id"))] = told
    return known


def _columns_of(header: list[str]) -> dict[str, str]:
    """Column of a table for each of `COLUMNS`; none is used twice."""
    low = {name.lower(): name for name in reversed(header)}
    columns: dict[str, str] = {}
    for ours, spellings in _SPELLINGS.items():
        free = (low[one] for one in spellings if one in low and low[one] not in columns.values())
        found = next(free, None)
        if found is not None:
            columns[ours] = found
    return columns


def _by_symbol(known: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Rows by symbol, for symbols that occur once."""
    rows: dict[str, list[dict[str, str]]] = {}
    for told in known.values():
        rows.setdefault(told.get("gene_name", ""), []).append(told)
    return {name: found[0] for name, found in rows.items() if name and len(found) == 1}


def _check_place(text: str, where: str) -> None:
    """Refuse a position that is not a whole number."""
    if not (text.isascii() and text.isdigit()):
        raise CohortError(f"{where}: {text!r} is not a whole number")
