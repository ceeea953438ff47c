"""Read a table of numbers with named rows and columns, row by row."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.importing.files import PARQUET, check_text, lines_of, opened_text, start_of
from gimp_plugin.cohort.importing.tables import cell_text, check_header, delimiter_of
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.errors import CohortError, did_you_mean, listed

NAME_COLUMNS = (
    "case_id", "sample_id", "patient_id", "sample", "patient", "case", "barcode", "gene_id",
    "ensembl_id", "hugo_symbol", "gene_name", "gene", "symbol", "id", "name", "entrez_gene_id",
)  # fmt: skip
"""Columns that may name the rows if the first column has no name."""

GENE_COLUMNS = {
    "gene_name": "gene_name", "gene_symbol": "gene_name", "symbol": "gene_name",
    "hugo_symbol": "gene_name", "description": "description", "gene_type": "gene_type",
    "gene_biotype": "gene_type", "biotype": "gene_type", "entrez_gene_id": "entrez_gene_id",
    "chromosome": "chromosome", "chrom": "chromosome", "start": "start", "end": "end",
    "strand": "strand", "length": "length",
}  # fmt: skip
"""Columns that describe genes, in lower case, and their names in the cohort."""

CASE_COLUMNS = frozenset({
    "label", "class", "case_id", "sample_id", "patient_id", "slide_id", "project", "project_id",
    "oncotree_code", "fold", "split", "train", "site", "tissue_source_site", "age", "sex", "gender",
    "is_female", "survival_months", "survival", "censorship", "stage", "grade", "batch",
    "cancer_type",
})  # fmt: skip
"""Columns that describe cases, in lower case."""

_NO_NAME = ("", "unnamed: 0", "index", "x")
_LONGEST = 1 << 30
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """A table of numbers.

    Parameters
    ----------
    where
        The file, quoted.
    corner
        Header of the column with the row names.
    rows, columns
        Names.
    numbers
        Shape (row, column); NaN for an empty cell.
    beside
        Columns that are not part of the numbers, by name: one cell per row.
    """

    where: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    numbers: NDArray[np.float32]
    beside: dict[str, list[str]]


def read_grid(
    path: Path,
    *,
    beside: Iterable[str] = (),
    also: Iterable[str] = (),
    names: str | None = None,
    unread: Callable[[str], bool] | None = None,
) -> Grid:
    """Read a table of numbers.

    Parameters
    ----------
    path
        CSV, TSV or GCT (plain, gzip or the only member of a zip), or Parquet. Lines that begin
        with # are comments.
    beside
        Columns to set apart in addition to those known to hold no numbers.
    also
        Columns to set apart if they exist.
    names
        Column that names the rows.
    unread
        Returns whether to skip a column.

    Returns
    -------
    The table, its numbers in single precision.

    Raises
    ------
    CohortError
        If it is not a table; if a column is named twice, a row has too few or too many cells, or
        a cell is not a number (the message names the row and the column).
    """
    if start_of(path).startswith(PARQUET):
        return _read_parquet(path, beside=beside, also=also)
    where = repr(str(path))
    csv.field_size_limit(min(sys.maxsize, _LONGEST))
    with opened_text(path) as file:
        header, rows = _header_and_rows(path, file)
        layout = _Layout.of(where, header, beside=beside, also=also, names=names, unread=unread)
        return layout.read(rows)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Layout:
    """Roles of the columns of a table."""

    where: str
    header: list[str]
    name: int
    apart: dict[str, int]
    numbers: list[int]

    @classmethod
    def of(
        cls,
        where: str,
        header: list[str],
        *,
        beside: Iterable[str],
        also: Iterable[str] = (),
        names: str | None = None,
        unread: Callable[[str], bool] | None = None,
    ) -> _Layout:
        """Assign the columns their roles by name."""
        beside = set(beside)
        unknown = sorted(beside - set(header))
        if unknown:
            near = did_you_mean(unknown[0], header)
            raise CohortError(f"{where} has no column {unknown[0]!r}{near}")
        name = _name_column(header, names)
        described = [one for one in header if one in beside or one.lower() in CASE_COLUMNS]
        check_header(where, described)
        known = (
            beside
            | (set(also) & set(header))
            | {one for one in header if one.lower() in CASE_COLUMNS or one.lower() in GENE_COLUMNS}
        )
        skipped = {
            column
            for column, one in enumerate(header)
            if one.lower() == "unnamed: 0" or (unread is not None and unread(one))
        }
        apart = {one: n for n, one in enumerate(header) if one in known and n != name}
        taken = {name, *apart.values(), *skipped}
        if name != 0 and header[0].lower() in _NO_NAME:
            taken.add(0)
        numbers = [column for column in range(len(header)) if column not in taken]
        if not numbers:
            held = listed(header)
            raise CohortError(f"{where} has no column of numbers beside the names, only {held}")
        return cls(where=where, header=header, name=name, apart=apart, numbers=numbers)

    def read(self, rows: Iterable[list[str]]) -> Grid:
        """Read all rows."""
        span = self.numbers == list(range(self.numbers[0], self.numbers[-1] + 1))
        first, last = self.numbers[0], self.numbers[-1] + 1
        names: list[str] = []
        values: list[NDArray[np.float32]] = []
        beside: dict[str, list[str]] = {one: [] for one in self.apart}
        for number, cells in enumerate(rows, start=1):
            if len(cells) != len(self.header):
                problem = f"{self.where}, row {number} below the header has {len(cells)} cells"
                hint = "the file is truncated, or a cell contains the delimiter"
                raise CohortError(f"{problem}, the header {len(self.header)}", hint=hint)
            names.append(cells[self.name].strip())
            for one, column in self.apart.items():
                beside[one].append(cell_text(cells[column]))
            texts = cells[first:last] if span else [cells[column] for column in self.numbers]
            values.append(self._numbers(texts, names[-1], number))
        if not names:
            raise CohortError(f"{self.where} has no row below its header")
        return Grid(
            where=self.where,
            corner=self.header[self.name],
            rows=tuple(names),
            columns=tuple(self.header[column] for column in self.numbers),
            numbers=np.stack(values),
            beside=beside,
        )

    def _numbers(self, texts: Sequence[str], name: str, number: int) -> NDArray[np.float32]:
        """Numbers of one row; cells are parsed one by one only if one is not a number."""
        try:
            if not any("_" in text for text in texts):
                with np.errstate(over="ignore"):
                    return np.array(texts, dtype=np.float64).astype(np.float32)
        except ValueError:
            pass
        return np.array(
            [self._number(text, name, number, place) for place, text in enumerate(texts)],
            dtype=np.float32,
        )

    def _number(self, text: str, name: str, number: int, place: int) -> float:
        """Value of one cell."""
        if not cell_text(text):
            return float("nan")
        try:
            if "_" not in text:
                return float(text)
        except ValueError:
            pass
        column = self.header[self.numbers[place]]
        cell = f"{self.where}, row {number} ({name!r}), column {column!r}: {text!r}"
        hint = "if the column is not a gene, name it with --obs-column"
        if _DECIMAL_COMMA.fullmatch(text.strip()):
            hint = "write numbers with a decimal point, and without commas"
        raise CohortError(f"{cell} is not a number", hint=hint)


def _header_and_rows(path: Path, lines: Iterable[str]) -> tuple[list[str], Iterator[list[str]]]:
    """Split a text into its header and the cells of its rows."""
    where = repr(str(path))
    kept = lines_of(path, lines)
    first = next(kept, "")
    if first.startswith("#1."):  # GCT: the second line has the sizes
        next(kept, "")
        first = next(kept, "")
    while first.startswith("#"):
        first = next(kept, "")
    if not first:
        raise CohortError(f"{where} has no line of text")
    check_text(path, first)
    delimiter = delimiter_of(path, first)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
    rows = csv.reader(kept, delimiter=delimiter)
    second = next(rows, None)
    if second is None:
        raise CohortError(f"{where} has no row below its header")
    if len(second) == len(header) + 1:  # R's write.table names the rows, but not their column
        header = ["", *header]
    return header, chain([second], rows)


def _name_column(header: list[str], wanted: str | None) -> int:
    """Column that names the rows: the wanted one, the first, or one of `NAME_COLUMNS`."""
    if wanted is not None and wanted in header:
        return header.index(wanted)
    if header[0].lower() not in _NO_NAME:
        return 0
    low = [name.lower() for name in header]
    known = [low.index(name) for name in NAME_COLUMNS if name in low]
    return known[0] if known else 0


def _read_parquet(path: Path, *, beside: Iterable[str], also: Iterable[str]) -> Grid:
    """Read a table that pandas or another tool wrote as Parquet."""
    import pandas as pd

    where = repr(str(path))
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split())
        raise CohortError(f"{where} cannot be read as Parquet: {message}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names=frame.index.name or "")
    frame.columns = [str(name) for name in frame.columns]
    layout = _Layout.of(where, list(frame.columns), beside=beside, also=also)
    header = layout.header
    numbers = [header[column] for column in layout.numbers]
    for name in numbers:
        if frame[name].dtype.kind not in "fiub":
            hint = "if the column is not a gene, name it with --obs-column"
            raise CohortError(f"{where}, column {name!r} does not hold numbers", hint=hint)
    if frame.empty:
        raise CohortError(f"{where} has no row")
    return Grid(
        where=where,
        corner=header[layout.name],
        rows=tuple(text_of(name) for name in frame[header[layout.name]].tolist()),
        columns=tuple(numbers),
        numbers=frame[numbers].to_numpy(dtype=np.float32),
        beside={
            one: [
                "" if is_missing(cell) else cell_text(text_of(cell)) for cell in frame[one].tolist()
            ]
            for one in layout.apart
        },
    )
