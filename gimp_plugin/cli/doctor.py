"""`gimp doctor`: whether this machine can do the work, and what to do if it cannot."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gimp_plugin.cli import options

if TYPE_CHECKING:
    from gimp_plugin.studies.doctor import Finding

INDENT = 6
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor", short_help="Check this machine: packages, devices, encoders, slides.")
@options.as_json
def command(*, as_json: bool) -> None:
    """Check whether this machine can do the work; change and download nothing.

    Prints one line per check (ok, warn or fail), and what to do if it is not ok. Checks versions,
    plugins, which gimp the shell finds, disk space and locks in this folder, memory, limits,
    devices, the weights of the patch encoders, and whether a small slide can be read as the
    extraction reads one. The exit code is 0 if nothing fails, even with warnings, else 4.
    """
    import gimp_plugin
    from gimp_plugin.cli.outcome import PARTLY_DONE
    from gimp_plugin.studies.doctor import FAIL, diagnose

    click.echo("looking at this machine; reading a slide, the last check, takes seconds", err=True)
    found = []
    for finding in diagnose():
        found.append(finding)
        if not as_json:
            click.echo(line_of(finding))
    usable = all(finding.state != FAIL for finding in found)
    if as_json:
        checks = [asdict(finding) for finding in found]
        told = {"version": gimp_plugin.__version__, "usable": usable, "checks": checks}
        click.echo(json.dumps(told, indent=1))
    if not usable:
        click.get_current_context().exit(PARTLY_DONE)


def line_of(finding: Finding) -> str:
    """Format a finding for people: one line, and a second one if there is something to do."""
    state = click.style(finding.state.ljust(INDENT), fg=COLOURS[finding.state])
    line = f"{state}{finding.name}: {finding.detail}"
    return f"{line}\n{' ' * INDENT}  -> {finding.remedy}" if finding.remedy else line
