"""`gimp predict`: class probabilities of cases, by a fine-tuned run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import options


@click.command("predict", short_help="Predict cases with a fine-tuned run; writes a table.")
@options.run
@options.inputs(from_run=True)
@options.missing("keep")
@click.option(
    "--min-gene-coverage",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Least share of the model's genes that the cohort must have.",
)
@options.hardware
@options.overwrite
@options.output("predictions.csv", folder=False)
def command(
    *, run: Path, missing: str, min_gene_coverage: float, output: Path, **given: Any
) -> None:
    """Predict every case of the cohort, and say in which part of the splits it was.

    Genes are found by name; those that are missing count as average.
    """
    from gimp_plugin.cli.given import cohort_source, runtime
    from gimp_plugin.prediction import predict

    result = predict(
        run,
        cohort_source(given),
        output=output,
        runtime=runtime(given),
        missing=missing,
        min_gene_coverage=min_gene_coverage,
    )
    click.echo(f"{result.path}: {result.n_cases} cases")
