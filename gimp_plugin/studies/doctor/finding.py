"""What a check is and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name
        What it is.
    state
        `ok`; `warn`: part of the work is out of reach; `fail`: it does not work.
    detail
        What was found.
    remedy
        What to do, where it is not `ok`.
    """

    name: str
    state: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to look at.

    Parameters
    ----------
    name
        What it is.
    look
        Gives what is found; it may raise whatever the parts that it touches raise.
    """

    name: str
    look: Callable[[], Iterable[Finding]]

    def findings(self) -> list[Finding]:
        """Look, whatever may happen.

        Returns
        -------
        What was found; an error is a finding.
        """
        try:
            return list(self.look())
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a doctor survives its patients
            detail = " ".join(f"{type(error).__name__}: {error}".split())
            remedy = "repair or install again what the message names"
            return [Finding(name=self.name, state=FAIL, detail=detail, remedy=remedy)]
