"""`gimp benchmark`: compare GiMP with baselines on the same patients, folds and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import cohort_options, logs, options


def names_of(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[str, ...]:
    """Split a list of names at its commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command("benchmark", short_help="Compare GiMP with baselines over folds and seeds.")
@cohort_options.inputs(from_run=False, needs_genes=True)
@cohort_options.split_table
@click.option(
    "--fold",
    "folds",
    metavar="NAME",
    multiple=True,
    show_default="every fold of the splits",
    help="Fold to run; may be repeated.",
)
@click.option(
    "--methods",
    metavar="all|table1|table2|NAME,...",
    default="all",
    show_default=True,
    callback=names_of,
    help="Methods to compare, or sets of them. all: every method except those that the "
    "documentation lists as by name only; table1, table2: the rows of the paper's tables, with the "
    "values that it prints; NAME+model.aggregator=abmil: a network with other settings.",
)
@click.option(
    "--reference",
    metavar="NAME",
    default="",
    show_default="gimp if it takes part, else the first",
    help="Method that the others are tested against.",
)
@click.option(
    "--seeds",
    "n_seeds",
    type=int,
    default=1,
    show_default=True,
    help="Trainings of each method on each fold, one per seed.",
)
@click.option(
    "--regime",
    metavar="full|labels:K|labels:K+unlabelled|genes:K",
    default="full",
    show_default=True,
    help="Data to learn from: everything; K training cases of each class (with +unlabelled, also "
    "the other training cases, without their labels, for pre-training); or K random genes.",
)
@click.option(
    "--epochs",
    type=int,
    show_default="each stage as in the preset",
    help="Maximum epochs of each network, over all its stages together.",
)
@options.preset(from_run=False)
@click.option(
    "--shard",
    metavar="I/N",
    help="Do part I (from 0) of N parts of the trainings; other processes do the other parts, with "
    "the same output folder.",
)
@options.scheduler
@click.option(
    "--report-only", is_flag=True, help="Train nothing; make the tables of what is done so far."
)
@options.runtime
@options.as_json
@options.output("study")
def command(
    *,
    folds: tuple[str, ...],
    methods: tuple[str, ...],
    reference: str,
    n_seeds: int,
    regime: str,
    epochs: int | None,
    shard: str | None,
    scheduler: str,
    report_only: bool,
    as_json: bool,
    output: Path,
    **given: Any,
) -> None:
    """Train every method on every fold with every seed, and compare them on the test patients.

    Prints the tables, and writes them to the output with a folder for each training. The same
    command continues an interrupted comparison; more methods, folds or seeds extend it. Only
    patients with slides and genes take part. --seed is the first of the seeds.
    """
    from gimp_plugin.cli.given import cohort_source, gimp_config, runtime
    from gimp_plugin.cli.outcome import PARTLY_DONE
    from gimp_plugin.studies.benchmark import Protocol, Shard, run_benchmark
    from gimp_plugin.studies.benchmark.report import as_json as json_of
    from gimp_plugin.studies.benchmark.report import as_markdown, costs_as_markdown

    protocol = Protocol(
        methods=methods,
        folds=folds,
        n_seeds=n_seeds,
        regime=regime,
        reference=reference,
        epochs=epochs,
    )
    with logs.quieter(), logs.said_by_page(as_json=as_json):
        found = run_benchmark(
            cohort_source(given),
            gimp_config(given, stage="finetune"),
            protocol,
            output=output,
            runtime=runtime(given),
            report_only=report_only,
            shard=None if shard is None else Shard.parse(shard),
            scheduler=scheduler,
        )
    if as_json:
        click.echo(json_of(found.tables), nl=False)
    else:
        click.echo(f"{as_markdown(found.tables)}\n{costs_as_markdown(found.tables)}")
        rows = found.tables.rows
        n_done, n_all = sum(len(row.costs) for row in rows), sum(row.n_cells for row in rows)
        so_far = "" if shard is None else f", {n_done} of {n_all} cells are done"
        click.echo(f"{found.path}: {found.outcome}{so_far}")
    if found.failures:
        click.echo(f"{len(found.failures)} of {found.n_cells} cells failed", err=True)
        click.get_current_context().exit(PARTLY_DONE)
