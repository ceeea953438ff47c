"""Checks and their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of looking at one thing.

    Parameters
    ----------
    name
        Name of the thing.
    state
        `ok`; `warn`: part of the work is not possible; `fail`: it does not work.
    detail
        What was found.
    remedy
        What to do if the state is not `ok`.
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
        Name of the thing.
    look
        Function that gives the findings; it may raise anything.
    """

    name: str
    look: Callable[[], Iterable[Finding]]

    def findings(self) -> list[Finding]:
        """Run the check without ever raising.

        Returns
        -------
        The findings; an error is also a finding.
        """
        try:
            return list(self.look())
        except (Exception, SystemExit) as error:  # noqa: BLE001  # one check must not end the others
            detail = " ".join(f"{type(error).__name__}: {error}".split())
            remedy = "repair or reinstall what the message names"
            return [Finding(name=self.name, state=FAIL, detail=detail, remedy=remedy)]
