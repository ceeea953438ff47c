"""`gimp verify`: check bags and runs for damage, byte by byte."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gimp_plugin.cli import options

NOTHING_GOOD = 3


@click.command("verify", short_help="Read bags and runs from end to end; reports what is damaged.")
@click.argument("paths", nargs=-1, required=True, type=options.FILE)
@options.as_json
def command(*, paths: tuple[Path, ...], as_json: bool) -> None:
    """Read bags and runs from end to end, and check that they are complete and undamaged.

    PATHS are bags, folders of bags, and run folders. Nothing is changed. Prints one line for each
    that is damaged or unfinished. The exit code is 0 if there is none, 4 if there are some, and 3
    if nothing is intact.
    """
    from gimp_plugin.cli.outcome import PARTLY_DONE
    from gimp_plugin.storage.verification import verify

    verdicts = []
    for verdict in verify(paths):
        verdicts.append(verdict)
        if verdict.problem and not as_json:
            click.echo(verdict.problem)
    bad = [verdict for verdict in verdicts if verdict.problem]
    n_good, n_patches = len(verdicts) - len(bad), sum(verdict.n_patches for verdict in verdicts)
    if as_json:
        rows = [
            {"path": str(verdict.path), "kind": verdict.kind, "n_patches": verdict.n_patches,
             "problem": verdict.problem}
            for verdict in verdicts
        ]  # fmt: skip
        click.echo(json.dumps({"good": n_good, "bad": len(bad), "verified": rows}, indent=1))
    else:
        click.echo(f"{n_good} good ({n_patches} patches), {len(bad)} bad")
    if bad or not verdicts:
        click.get_current_context().exit(PARTLY_DONE if n_good else NOTHING_GOOD)
