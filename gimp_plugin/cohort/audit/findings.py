"""Outcome of a check: a verdict, what was found, why it matters and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OK = "ok"
FINDING = "finding"
SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Outcome of one check.

    Parameters
    ----------
    check
        Name of the check.
    verdict
        `ok`, `finding` or `skipped`.
    found
        What was found, with numbers and names; for a skipped check, the reason.
    why
        Why a finding matters.
    remedy
        What to do about it.
    numbers
        The same as plain values, for programs.
    """

    check: str
    verdict: str
    found: str
    why: str = ""
    remedy: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "check": self.check,
            "verdict": self.verdict,
            "found": self.found,
            "why": self.why,
            "remedy": self.remedy,
            "numbers": dict(self.numbers),
        }


def ok(check: str, found: str, **numbers: Any) -> Finding:
    """Report that nothing is wrong."""
    return Finding(check=check, verdict=OK, found=found, numbers=numbers)


def finding(check: str, found: str, *, why: str, remedy: str, **numbers: Any) -> Finding:
    """Report something to look at."""
    return Finding(
        check=check, verdict=FINDING, found=found, why=why, remedy=remedy, numbers=numbers
    )


def skipped(check: str, reason: str) -> Finding:
    """Report that the check could not be made."""
    return Finding(check=check, verdict=SKIPPED, found=reason)


def named(names: Sequence[str], *, limit: int = 5) -> str:
    """List the first few names and the number of the others.

    Returns
    -------
    One line.

    Examples
    --------
    >>> named(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
