"""`gimp demo`: run everything on a small cohort that it generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import logs, options


@click.command("demo", short_help="Try everything on a small generated cohort; takes minutes.")
@click.argument("folder", metavar="[DIR]", type=options.FILE, default=Path("gimp-demo"))
@options.device
@options.seed
def command(*, folder: Path, **given: Any) -> None:
    """Generate a cohort and run every step from slides to an evaluation table, with controls.

    Writes to DIR, by default gimp-demo. The slides are mosaics of one real H&E picture; the gene
    expression is simulated. Needs the packages of gimp-plugin[demo], but no network and no GPU.
    With -v, it reports each slide and epoch.
    """
    options.check_output(folder, folder=True)

    from gimp_plugin.cli.given import runtime
    from gimp_plugin.studies.demo import run_demo
    from gimp_plugin.studies.demo.report import closing

    with logs.quieter():
        found = run_demo(folder, runtime=runtime(given))
    click.echo(found.table)
    click.echo(closing(found.folder, outcome=found.outcome, seconds=found.seconds), nl=False)
