"""`gimp report`: one HTML page about runs, for clinicians and reviewers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import cohort_options, options


@click.command("report", short_help="Write one HTML page about runs, to read or print.")
@click.argument(
    "runs", metavar="[RUN]...", nargs=-1, type=options.FILE, default=(Path("runs/finetune"),)
)
@click.option(
    "--predictions",
    metavar="FILE|PATTERN",
    multiple=True,
    help="Predictions of these runs; a quoted pattern covers several tables. May be repeated.",
)
@click.option(
    "--compare",
    "others",
    metavar="[NAME=]FILE|PATTERN",
    multiple=True,
    help="Another system's predictions of the same patients (a baseline or a control), with an "
    "optional name. May be repeated.",
)
@click.option(
    "--explanation",
    "explanations",
    metavar="DIR",
    type=options.FILE,
    multiple=True,
    help="Folder that gimp explain wrote for one of these runs; may be repeated.",
)
@click.option("--adata", type=options.FILE, help="Gene cohort, .h5ad, to check.")
@cohort_options.labels_beside
@cohort_options.cohort_option("--case-key")
@cohort_options.bags_beside
@cohort_options.cohort_option("--slide-table")
@cohort_options.cohort_option("--label-key", from_run=True)
@cohort_options.site_key
@cohort_options.cohort_option("--layer")
@cohort_options.cohort_option("--scale")
@click.option(
    "--pictures",
    "n_pictures",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="Number of cases per run whose maps are shown.",
)
@options.seed
@options.overwrite
@options.output("report.html", folder=False)
def command(
    *,
    runs: tuple[Path, ...],
    predictions: tuple[str, ...],
    others: tuple[str, ...],
    explanations: tuple[Path, ...],
    n_pictures: int,
    seed: int,
    overwrite: bool,
    output: Path,
    **cohort: Any,
) -> None:
    """Write one HTML page about RUN, or about several runs side by side.

    The page is complete in itself: no scripts, no network. By default RUN is runs/finetune. The
    cohort (--adata) is checked as by gimp check. Inputs that are not given are named in the section
    that would need them.
    """
    from gimp_plugin.cli.evaluate import systems_of, tables_of
    from gimp_plugin.errors import ConfigError, counted
    from gimp_plugin.studies.report import Asked, report

    given = sorted(name for name, value in cohort.items() if value is not None and name != "adata")
    if cohort["adata"] is None and given:
        problem = f"--{given[0].replace('_', '-')} says how to read the cohort, but none is given"
        raise ConfigError(problem, hint="give --adata")
    asked = Asked(
        runs=runs,
        predictions=tuple(path for each in predictions for path in tables_of(each)),
        others=systems_of(others, folders=False),
        explanations=explanations,
        cohort=cohort,
        n_pictures=n_pictures,
        seed=seed,
    )
    found = report(asked, output=output, overwrite=overwrite)
    click.echo(f"{found.path}: {found.outcome}, {counted(len(found.warnings), 'warning')}")
