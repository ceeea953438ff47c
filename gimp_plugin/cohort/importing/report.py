"""What became of samples, cases and genes: counts before and after each rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gimp_plugin.storage.tables import Exclusion, write_csv

STEP = "import"


@dataclass(frozen=True, slots=True)
class Count:
    """How many samples, cases or genes there were before a rule and after it."""

    rule: str
    unit: str
    before: int
    after: int


def left_out(case_id: str, rule: str, reason: str) -> Exclusion:
    """Row of the exclusions for a sample that a rule left out."""
    return Exclusion(case_id, "", f"{STEP}: {rule}", reason)


def exclusions_path(output: Path) -> Path:
    """Where the table of what was left out stands: beside the cohort."""
    return output.with_name(f"{output.stem}.exclusions.csv")


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> None:
    """Write what was left out, sorted; an empty table when nothing was."""
    rows = sorted(map(asdict, exclusions), key=lambda row: tuple(row.values()))
    write_csv(path, rows, columns=[field.name for field in fields(Exclusion)])


def as_table(counts: Sequence[Count]) -> str:
    """Counts as text in columns, numbers to the right.

    Returns
    -------
    One line a rule below a heading.

    Examples
    --------
    >>> print(as_table([Count("primary tumour", "samples", 12, 9)]))
    rule            unit     before  after
    primary tumour  samples      12      9
    """
    heading = ("rule", "unit", "before", "after")
    rows = [heading, *((one.rule, one.unit, str(one.before), str(one.after)) for one in counts)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    left = ["  ".join(row[n].ljust(widths[n]) for n in (0, 1)) for row in rows]
    right = ["  ".join(row[n].rjust(widths[n]) for n in (2, 3)) for row in rows]
    return "\n".join("  ".join(pair) for pair in zip(left, right, strict=True))
