"""Report of an import: counts of samples, cases and genes before and after each rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gimp_plugin.storage.tables import Exclusion, write_csv

STEP = "import"


@dataclass(frozen=True, slots=True)
class Count:
    """Number of samples, cases or genes before and after a rule."""

    rule: str
    unit: str
    before: int
    after: int


def left_out(case_id: str, rule: str, reason: str) -> Exclusion:
    """Row of the exclusions for a sample that a rule left out."""
    return Exclusion(case_id, "", f"{STEP}: {rule}", reason)


def exclusions_path(output: Path) -> Path:
    """Path of the table of exclusions, beside the cohort."""
    return output.with_name(f"{output.stem}.exclusions.csv")


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> None:
    """Write the exclusions, sorted; the table is empty if there are none."""
    rows = sorted(map(asdict, exclusions), key=lambda row: tuple(row.values()))
    write_csv(path, rows, columns=[field.name for field in fields(Exclusion)])


def as_table(counts: Sequence[Count]) -> str:
    """Format the counts as text in columns, numbers aligned to the right.

    Returns
    -------
    A heading, and one line per rule.

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
