"""Read the small tables that users write: slides and their cases, and splits."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from gimp_plugin.errors import GimpError, MissingFileError, did_you_mean, listed
from gimp_plugin.storage.tables import read_csv


def read_table(
    path: Path,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    error: type[GimpError],
) -> list[dict[str, str]]:
    """Read the rows of a CSV with named columns; other columns are not checked.

    Parameters
    ----------
    path
        The table.
    required
        Columns that must exist, with a value in every row.
    optional
        Columns to name in messages in addition to the required ones.
    error
        Class of the error to raise for bad contents.

    Returns
    -------
    At least one row; the cells are text without surrounding space.

    Raises
    ------
    MissingFileError
        If there is no such file.
    GimpError
        Of the given class, if the file is not text, has no rows, or lacks a column or a value.
    """
    where = repr(str(path))
    hint = f"expected a CSV with the columns {','.join([*required, *optional])}"
    try:
        rows = read_csv(path)
    except FileNotFoundError as missing:
        raise MissingFileError(f"no table {where}", hint=hint) from missing
    except (OSError, UnicodeDecodeError, csv.Error) as unreadable:
        raise error(f"{where} cannot be read: {unreadable}", hint=hint) from unreadable
    if not rows:
        raise error(f"{where} has no row", hint=hint)
    for column in required:
        if column not in rows[0]:
            near = did_you_mean(column, rows[0])
            raise error(
                f"{where} has no column {column!r}{near}; it has {listed(rows[0])}", hint=hint
            )
    stripped = [{column: cell.strip() for column, cell in row.items()} for row in rows]
    for line, row in enumerate(stripped, start=2):
        empty = [column for column in required if not row[column]]
        if empty:
            raise error(f"{where}, row {line}: {empty[0]} is empty", hint=hint)
    return stripped
