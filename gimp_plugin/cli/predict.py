"""`gimp predict`: class probabilities of cases, from a fine-tuned run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import cohort_options, options
from gimp_plugin.keys import MODALITIES


@click.command("predict", short_help="Predict cases with a fine-tuned run; writes a table.")
@options.run
@cohort_options.inputs(from_run=True)
@cohort_options.missing("keep")
@click.option(
    "--slides",
    type=options.FILE,
    multiple=True,
    help="Slides, or folders of slides, to extract first, as the run's own slides were; may be "
    "repeated. Their bags are written to --features, by default a folder next to the output.",
)
@options.weights
@options.slide_mpp
@options.masks
@options.offline
@cohort_options.min_gene_coverage
@click.option(
    "--modalities",
    type=options.Choice(MODALITIES),
    show_default="what each case has",
    help="Halves to predict every case from: any other half is hidden, and cases that lack one of "
    "these are left out.",
)
@click.option(
    "--abstain-below",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="P",
    default=0.0,
    show_default="off",
    help="Give no class to cases whose highest probability is below P.",
)
@options.hardware
@options.overwrite
@options.output("predictions.csv", folder=False)
def command(
    *,
    run: Path,
    missing: str,
    min_gene_coverage: float,
    modalities: str | None,
    abstain_below: float,
    output: Path,
    **given: Any,
) -> None:
    """Predict every case of the cohort, and state its part of the run's splits.

    Genes are matched by name; missing genes count as average.
    """
    from gimp_plugin.cli.given import cohort_source, runtime
    from gimp_plugin.cli.outcome import PARTLY_DONE
    from gimp_plugin.prediction import predict

    n_failed = 0
    if given["masks"] and not given["slides"]:
        raise click.UsageError("--masks needs --slides: masks are for slides that are read now")
    if given["slides"]:
        given["features"] = given["features"] or output.with_name(f"{output.stem}_features")
        n_failed = _extract(run, given)
    result = predict(
        run,
        cohort_source(given),
        output=output,
        runtime=runtime(given),
        missing=missing,
        min_gene_coverage=min_gene_coverage,
        modalities=modalities,
        abstain_below=abstain_below,
    )
    click.echo(f"{result.path}: {result.n_cases} cases")
    if n_failed:
        click.get_current_context().exit(PARTLY_DONE)


def _extract(run: Path, given: Mapping[str, Any]) -> int:
    """Make the bags of new slides; return the number of slides that failed."""
    from gimp_plugin.cli.given import runtime
    from gimp_plugin.prediction import extract_for

    result = extract_for(
        run,
        given["slides"],
        output=given["features"],
        runtime=runtime(given),
        weights=given["weights"],
        slide_mpp=given["slide_mpp"] or 0.0,
        slide_table=given["slide_table"],
        masks=given["masks"],
        offline=given["offline"],
    )
    return len(result.failures)
