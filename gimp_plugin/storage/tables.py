"""Tables as CSV, and the two tables of what did not make it: failures and exclusions."""

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
    """One item that could not be done: a slide or a case, the stage, and why."""

    item: str
    stage: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One case or slide that was left out, at which step, and why."""

    case_id: str
    slide_id: str
    step: str
    reason: str


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> None:
    """Write a table whole; cells that a spreadsheet would run as a formula get a leading quote."""
    write_text(path, csv_text(rows, columns=columns))


def csv_text(rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> str:
    """Give a table as `write_csv` writes it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([defused(row[column]) for column in columns])
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table as text, nothing guessed from the look of a cell."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [_without_guards(row) for row in csv.DictReader(file)]


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """List what failed in `failures.csv`; the file goes when nothing did."""
    _write_or_remove(folder / FAILURES, failures, Failure)


def write_exclusions(folder: Path, exclusions: Sequence[Exclusion]) -> None:
    """List what was left out in `exclusions.csv`, an empty table when nothing was."""
    rows = sorted(map(asdict, exclusions), key=lambda row: tuple(row.values()))
    write_csv(folder / EXCLUSIONS, rows, columns=[field.name for field in fields(Exclusion)])


def _write_or_remove(path: Path, rows: Sequence[Any], kind: type) -> None:
    """Write a table of dataclasses, or remove it when there is nothing to say."""
    if rows:
        write_csv(path, map(asdict, rows), columns=[field.name for field in fields(kind)])
    else:
        path.unlink(missing_ok=True)


def defused(value: Any) -> str:
    """Text of a cell, defused."""
    text = "" if value is None else str(value)
    return f"'{text}" if _is_formula(text) and not _is_number(text) else text


def without_guard(text: str) -> str:
    """Take the leading quote of a defused cell away again."""
    return text[1:] if text[:1] == "'" and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Whether a cell looks like a formula, or like one that is defused."""
    return text.lstrip("'")[:1] in {"=", "+", "-", "@"}


def _without_guards(row: Mapping[str, Any]) -> dict[str, str]:
    """Row of a table as it was before its cells were defused; a missing cell is empty."""
    return {str(key): without_guard(cell or "") for key, cell in row.items() if key is not None}


def _is_number(text: str) -> bool:
    """Whether a cell is a number, which no spreadsheet runs."""
    try:
        float(text)
    except ValueError:
        return False
    return True
