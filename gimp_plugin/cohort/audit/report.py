"""The audit as a Markdown page and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gimp_plugin.cohort.audit.findings import FINDING, OK, SKIPPED, Finding

_WORDS = {OK: "ok", FINDING: "FINDING", SKIPPED: "skipped"}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Outcome of all checks.

    Parameters
    ----------
    name
        File name of the cohort.
    n_cases, n_genes
        Size of the cohort.
    checks
        Outcome of each check, in the order of the checks.
    """

    name: str
    n_cases: int
    n_genes: int
    checks: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Outcomes that are findings."""
        return tuple(check for check in self.checks if check.verdict == FINDING)

    def of(self, check: str) -> Finding:
        """Outcome of one check by its name; KeyError if it was not made."""
        return {each.check: each for each in self.checks}[check]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "cohort": self.name,
            "n_cases": self.n_cases,
            "n_genes": self.n_genes,
            "n_findings": len(self.findings),
            "checks": [check.to_dict() for check in self.checks],
        }

    def to_markdown(self) -> str:
        """Return a page: one line per check, then why each finding matters and what to do."""
        size = f"{self.n_cases:,} cases, {self.n_genes:,} genes"
        lines = [f"# Check of {_one_line(self.name)}: {size}", "", "```text"]
        lines += [*_table(self.checks), "```", ""]
        if not self.findings:
            return "\n".join([*lines, "Nothing found.", ""])
        verb = "finding" if len(self.findings) == 1 else "findings"
        lines += [f"{len(self.findings)} {verb}.", ""]
        for each in self.findings:
            lines += [f"## {each.check}", "", f"- Found: {_one_line(each.found)}"]
            lines += [f"- Why it matters: {_one_line(each.why)}"]
            lines += [f"- What to do: {_one_line(each.remedy)}", ""]
        return "\n".join(lines)


def _table(checks: Sequence[Finding]) -> list[str]:
    """One aligned line per check."""
    width = max((len(check.check) for check in checks), default=0)
    return [
        f"{_WORDS[check.verdict]:<8}{check.check:<{width}}  {_short(_one_line(check.found))}"
        for check in checks
    ]


def _short(text: str, limit: int = 110) -> str:
    """Beginning of a text; findings are given in full further down."""
    return text if len(text) <= limit else f"{text[: limit - 3].rstrip()}..."


def _one_line(text: str) -> str:
    """Text without line breaks and control characters, which names may contain."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace("`", "'")
