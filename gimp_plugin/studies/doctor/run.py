"""All checks, the fastest first."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence

from gimp_plugin.studies.doctor.finding import Check, Finding

ROOM = "gimp_plugin.studies.doctor"


def _look(module: str, function: str) -> Iterable[Finding]:
    """Import a check only when it runs, because its imports may be what is broken."""
    return getattr(importlib.import_module(f"{ROOM}.{module}"), function)()


def _check(name: str, module: str, function: str) -> Check:
    """Make a check from a function."""
    return Check(name=name, look=lambda: _look(module, function))


CHECKS: tuple[Check, ...] = (
    _check("python", "packages", "python"),
    _check("packages", "packages", "packages"),
    _check("plugins", "packages", "plugins"),
    _check("gimp", "packages", "program"),
    _check("disk", "machine", "room"),
    _check("locking", "machine", "locking"),
    _check("memory", "machine", "memory"),
    _check("limits", "machine", "limits"),
    _check("sqlite", "machine", "sqlite"),
    _check("libraries", "slides", "libraries"),
    _check("cpu", "machine", "devices"),
    _check("encoder", "slides", "encoders"),
    _check("slide", "slides", "readers"),
)


def diagnose(checks: Sequence[Check] = CHECKS) -> Iterator[Finding]:
    """Run all checks one after the other; an error in one does not stop the others.

    Parameters
    ----------
    checks
        The checks to run.

    Yields
    ------
    Findings, after each check.
    """
    for check in checks:
        yield from check.findings()
