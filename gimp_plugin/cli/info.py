"""`gimp info`: describe a file or folder."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gimp_plugin.cli import options


@click.command("info", short_help="Describe a bag, a cohort, a run or predictions.")
@click.argument("path", type=options.FILE)
@options.as_json
def command(*, path: Path, as_json: bool) -> None:
    """Describe PATH: a bag, a folder of bags, a cohort, a run or a table of predictions."""
    from gimp_plugin.studies.inspection import describe

    found = describe(path)
    if as_json:
        click.echo(json.dumps({"kind": found.kind, **found.facts}, indent=1))
        return
    click.echo(f"{path}: {found.kind}")
    width = max(len(name) for name in found.facts)
    for name, value in found.facts.items():
        click.echo(f"  {name.replace('_', ' '):<{width}}  {value}")
