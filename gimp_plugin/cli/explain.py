"""`gimp explain`: why a run predicts what it predicts, and whether the reasons hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import cohort_options, options
from gimp_plugin.config.explanation import FORMATS, GENE_REFERENCES, SKIPPABLE, ExplainConfig
from gimp_plugin.keys import NEW, PARTS

DEFAULTS = ExplainConfig()


@click.command("explain", short_help="Explain predictions: patches, genes and halves, with tests.")
@click.option(
    "--model",
    "runs",
    metavar="RUN",
    type=options.FILE,
    multiple=True,
    default=[Path("runs/finetune")],
    show_default=True,
    help="Run folder of a fine-tuned model. May be repeated: runs of other seeds are compared with "
    "the first.",
)
@cohort_options.inputs(from_run=True)
@click.option(
    "--split",
    "splits",
    type=options.Choice([*PARTS, NEW]),
    multiple=True,
    show_default="all",
    help="Part of the run's splits to explain; may be repeated.",
)
@click.option(
    "--slides",
    type=options.FILE,
    multiple=True,
    help="Slides, or folders of slides, to draw maps on; may be repeated.",
)
@click.option(
    "--truth",
    type=options.FILE,
    metavar="DIR",
    help="Folder of files SLIDE_ID.npy that mark the patches which the scores should find.",
)
@click.option("--gene-sets", type=options.FILE, metavar="GMT", help="Sets of genes to test.")
@click.option(
    "--site-key", default="", metavar="COLUMN", help="Column of obs with the hospital of each case."
)
@click.option(
    "--class",
    "target",
    metavar="NAME",
    default=DEFAULTS.target,
    show_default="the predicted class of each case",
    help="Class to explain.",
)
@click.option(
    "--steps",
    "n_steps",
    type=int,
    default=DEFAULTS.n_steps,
    show_default=True,
    help="Points on the path of integrated gradients.",
)
@click.option(
    "--gene-reference",
    type=options.Choice(GENE_REFERENCES),
    default=DEFAULTS.gene_reference,
    show_default=True,
    help="What genes are compared with, the start of their path: the mean of the training cases of "
    "the other classes, or of all training cases.",
)
@click.option(
    "--regions",
    "n_regions",
    type=int,
    default=DEFAULTS.n_regions,
    show_default=True,
    help="Regions of a case that are removed one at a time.",
)
@click.option(
    "--max-patches",
    type=int,
    default=DEFAULTS.max_patches,
    show_default=True,
    help="Patches whose gradients are computed together; memory grows with this number.",
)
@click.option(
    "--top",
    type=int,
    default=DEFAULTS.top,
    show_default=True,
    help="Highest patches, and as many lowest ones, in the picture of each slide.",
)
@click.option(
    "--skip",
    type=options.Choice(SKIPPABLE),
    multiple=True,
    help="Part of the explanation to leave out; may be repeated.",
)
@click.option(
    "--format",
    "formats",
    type=options.Choice(FORMATS),
    multiple=True,
    default=DEFAULTS.formats,
    show_default=True,
    help="Format of the patch scores in addition to HDF5: GeoJSON for QuPath, an annotation store "
    "for TIAToolbox, or CSV; may be repeated.",
)
@cohort_options.min_gene_coverage
@options.device
@options.seed
@options.overwrite
@options.output("explanation")
def command(
    *,
    runs: tuple[Path, ...],
    slides: tuple[Path, ...],
    truth: Path | None,
    gene_sets: Path | None,
    site_key: str,
    output: Path,
    **given: Any,
) -> None:
    """Explain the predictions of a run: which patches, which genes, which half.

    Everything is computed in float32. Each case is saved as soon as it is done, so the same command
    continues where it stopped.
    """
    from gimp_plugin.cli.given import cohort_source, explain_config, runtime
    from gimp_plugin.cli.outcome import PARTLY_DONE
    from gimp_plugin.studies.explanation import Beside, explain
    from gimp_plugin.toolbox.geojson import write_geojson
    from gimp_plugin.toolbox.stores import write_store

    result = explain(
        runs,
        cohort_source(given),
        output=output,
        config=explain_config(given),
        runtime=runtime(given),
        beside=Beside(slides=slides, truth=truth, gene_sets=gene_sets, site_key=site_key),
        writers={"geojson": (".geojson", write_geojson), "store": (".db", write_store)},
    )
    for failure in result.failures:
        click.echo(f"{failure.item}: {failure.message}", err=True)
    click.echo(f"{result.path}: {result.outcome}, {result.n_cases} cases")
    if result.failures:
        click.get_current_context().exit(PARTLY_DONE)
