"""`gimp pretrain`: gene pre-training, then masked patch modeling and triplets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gimp_plugin.cli import cohort_options, options


@click.command("pretrain", short_help="Pre-train on slides and genes; writes a run folder.")
@cohort_options.inputs(from_run=False)
@cohort_options.splits(from_run=False)
@cohort_options.missing("drop")
@cohort_options.unlabelled(from_run=False)
@options.settings(from_run=False)
@options.runtime
@options.tensorboard
@options.checkpoint_activations
@options.output("runs/pretrain")
def command(*, output: Path, **given: Any) -> None:
    """Pre-train the gene encoder on the labels, then the image half (paper, section 2.3).

    Learns only from the training part of the splits; with --unlabelled use, also from its cases
    without a class, by masked patch modeling. Writes a run folder for `gimp finetune` to start
    from; an unfinished one is continued.
    """
    from gimp_plugin.cli.given import cohort_source, gimp_config, runtime
    from gimp_plugin.training import joined, pretrain

    with joined(runtime(given)) as ranks:
        with ranks.together():
            source = cohort_source(given)
            config = gimp_config(given, stage="pretrain", weighted=("genes",))
        result = pretrain(source, config, output=output, runtime=runtime(given))
    if ranks.is_main:
        click.echo(f"{result.path}: {result.outcome}")
