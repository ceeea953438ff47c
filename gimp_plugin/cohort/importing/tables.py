"""Text tables that come with expression: sample sheets, clinical tables, lists."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from gimp_plugin.cohort.importing.files import check_text, lines_of, opened_text
from gimp_plugin.errors import CohortError, MissingFileError, counted, listed
from gimp_plugin.storage.tables import without_guard

MISSING = frozenset({
    "", "na", "n/a", "nan", "null", "none", "--", "not available", "not reported",
    "[not available]", "[not applicable]", "[unknown]",
})  # fmt: skip
"""Spellings of a missing value in tables of R, cBioPortal and the GDC (`'--`)."""

_DELIMITERS = ("\t", ",", ";")


def delimiter_of(path: Path, line: str) -> str:
    """Return the delimiter of a line: a tab if it has one, else a comma or a semicolon.

    Returns
    -------
    One character.

    Raises
    ------
    CohortError
        If the line has none of them, so that the table has one column.
    """
    for delimiter in _DELIMITERS:
        if delimiter in line:
            return delimiter
    problem = f"{str(path)!r} has one column only: {line[:60]!r}"
    raise CohortError(problem, hint="expected a table separated by tabs or commas")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV or TSV as text; lines that begin with # are comments.

    Space around cells is removed, and cells that spell a missing value are empty.

    Parameters
    ----------
    path
        The table, plain or compressed.

    Returns
    -------
    At least one row.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CohortError
        If it is not text, has no rows, names a column twice, or a row has too many cells.
    """
    if not path.exists():
        raise MissingFileError(f"no table {str(path)!r}", hint="check the path")
    where = repr(str(path))
    with opened_text(path) as file:
        lines = (line for line in lines_of(path, file) if not line.startswith("#"))
        first = next(lines, "")
        check_text(path, first)
        one_column = not any(delimiter in first for delimiter in _DELIMITERS)
        delimiter = "," if one_column else delimiter_of(path, first)
        header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        check_header(where, header)
        rows = []
        for number, cells in enumerate(_rows(where, lines, delimiter), start=1):
            if len(cells) > len(header):
                problem = f"{where}, row {number} below the header has {len(cells)} cells"
                raise CohortError(f"{problem}, the header {len(header)}")
            padded = [*map(cell_text, cells), *[""] * (len(header) - len(cells))]
            rows.append(dict(zip(header, padded, strict=True)))
    if not rows:
        raise CohortError(f"{where} has no row below its header")
    return rows


def _rows(where: str, lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of each row; refuse an unclosed quote, which would swallow later rows."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from reader
    except csv.Error as error:
        problem = f"{where}, row {reader.line_num} below the header cannot be read: {error}"
        raise CohortError(problem, hint="look for a quotation mark that is not closed") from error


def check_header(where: str, header: list[str]) -> None:
    """Refuse a header that names a column twice.

    Raises
    ------
    CohortError
        If it does; the message names the columns.
    """
    seen: set[str] = set()
    twice = [name for name in header if name in seen or seen.add(name)]  # type: ignore[func-returns-value]  # add returns None
    if twice:
        problem = (
            f"{where} names {counted(len(twice), 'column')} more than once: "
            f"{listed(dict.fromkeys(twice))}"
        )
        raise CohortError(problem, hint="give each column its own name")


def cell_text(text: str) -> str:
    """Text of a cell; empty if it spells a missing value."""
    text = without_guard(text.strip())
    return "" if text.lower() in MISSING else text
