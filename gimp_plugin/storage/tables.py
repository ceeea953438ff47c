"""Tables as CSV, and the tables of failures and exclusions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gimp_plugin.storage.atomic import write_text

FAILURES = "failures.csv"
EXCLUSIONS = "exclusions.csv"


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that failed: a slide or a case, the stage, and the reason."""

    item: str
    stage: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One case or slide that was left out, the step, and the reason."""

    case_id: str
    slide_id: str
    step: str
    reason: str


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> None:
    """Write a table atomically; cells that a spreadsheet would run as formulas get a quote."""
    write_text(path, csv_text(rows, columns=columns))


def csv_text(rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> str:
    """Return the text that `write_csv` writes for a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([defused(row[column]) for column in columns])
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table as text, without guessing types; OSError if it is not a file."""
    if path.exists() and not path.is_file():  # reading a pipe would hang
        raise OSError(f"{str(path)!r} is not a file")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [_without_guards(row) for row in csv.DictReader(file)]


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write `failures.csv`, or remove it if there are no failures."""
    _write_or_remove(folder / FAILURES, failures, Failure)


def write_exclusions(folder: Path, exclusions: Sequence[Exclusion]) -> None:
    """Write `exclusions.csv`; the table is empty if there are no exclusions."""
    rows = sorted(map(asdict, exclusions), key=lambda row: tuple(row.values()))
    write_csv(folder / EXCLUSIONS, rows, columns=[field.name for field in fields(Exclusion)])


def _write_or_remove(path: Path, rows: Sequence[Any], kind: type) -> None:
    """Write a table of dataclasses, or remove it if there are no rows."""
    if rows:
        write_csv(path, map(asdict, rows), columns=[field.name for field in fields(kind)])
    else:
        path.unlink(missing_ok=True)


def defused(value: Any) -> str:
    """Return the text of a cell, with a leading quote if it looks like a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if _is_formula(text) and not _is_number(text) else text


def without_guard(text: str) -> str:
    """Remove the leading quote of a defused cell."""
    return text[1:] if text[:1] == "'" and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Whether a cell looks like a formula, or like a defused one."""
    return text.lstrip("'")[:1] in {"=", "+", "-", "@"}


def _without_guards(row: Mapping[str, Any]) -> dict[str, str]:
    """Undo the defusing of a row's cells; a missing cell is empty."""
    return {str(key): without_guard(cell or "") for key, cell in row.items() if key is not None}


def _is_number(text: str) -> bool:
    """Whether a cell is a number, which spreadsheets do not run."""
    try:
        float(text)
    except ValueError:
        return False
    return True
