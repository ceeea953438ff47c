"""`gimp export`: the model of a run as a folder to share."""

from __future__ import annotations

from pathlib import Path

import click

from gimp_plugin.cli import options


@click.command("export", short_help="Write a run's model as a folder to share; names no patient.")
@click.argument("run", type=options.FILE, default=Path("runs/finetune"))
@click.option(
    "--predictions",
    type=options.FILE,
    help="Predictions of this run: the model card gets the metrics of their test cases, or of new "
    "cases if there are none, with 95 % intervals.",
)
@click.option(
    "--licence",
    metavar="TEXT",
    default="",
    show_default="the card says that none is stated",
    help="Licence of the model, such as apache-2.0.",
)
@click.option(
    "--data",
    metavar="TEXT",
    default="",
    show_default="the card says that nothing is stated",
    help="What the training cases are, in one sentence.",
)
@options.output("bundle")
@options.overwrite
def command(
    *,
    run: Path,
    predictions: Path | None,
    licence: str,
    data: str,
    output: Path,
    overwrite: bool,
) -> None:
    """Write the model of RUN, by default runs/finetune, in the layout of the Hugging Face hub.

    The folder predicts as the run does, wherever it is moved. It names no case, slide or path of
    the training, so every case that it predicts is marked as new.
    """
    from gimp_plugin.studies.bundle import export

    result = export(
        run,
        output=output,
        predictions=predictions,
        licence=licence,
        data=data,
        overwrite=overwrite,
    )
    click.echo(f"{result.path}: {result.outcome}")
