"""`gimp finetune`: train the classifier, from a pre-trained run or from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gimp_plugin.cli import cohort_options, options

if TYPE_CHECKING:
    from gimp_plugin.config import GimpConfig

NO_RUN = ("genes", "none")


@click.command("finetune", short_help="Train the classifier; writes a run folder to predict with.")
@cohort_options.inputs(from_run=True)
@cohort_options.splits(from_run=True)
@cohort_options.missing("drop")
@cohort_options.unlabelled(from_run=True)
@click.option(
    "--from",
    "start",
    metavar="RUN|genes|none",
    default="runs/pretrain",
    show_default=True,
    help="Run to start from; genes: pre-train only the gene encoder; none: from scratch.",
)
@options.settings(from_run=True)
@options.runtime
@options.tensorboard
@options.checkpoint_activations
@options.output("runs/finetune")
def command(*, start: str, output: Path, **given: Any) -> None:
    """Fine-tune on slides and genes, and keep the epoch that is best on the validation cases.

    Features, slide table, label, splits and model are taken from the run to start from, unless they
    are given. No case that this run or its ancestors trained on may be in val or test.
    """
    from gimp_plugin.cli.given import cohort_source, gimp_config, runtime
    from gimp_plugin.training import finetune, joined

    weighted = ("genes", "finetune") if start == "genes" else ("finetune",)
    with joined(runtime(given)) as ranks:
        with ranks.together():
            source = cohort_source(given)
            base = None if given["system"] else _config_of(start)  # a system starts from no run
            config = gimp_config(given, stage="finetune", weighted=weighted, base=base)
        result = finetune(source, config, start=start, output=output, runtime=runtime(given))
    if ranks.is_main:
        click.echo(f"{result.path}: {result.outcome}")


def _config_of(start: str) -> GimpConfig | None:
    """Read the configuration of the run to start from; None if there is none."""
    from gimp_plugin.errors import ConfigError, did_you_mean
    from gimp_plugin.storage.runs import read_run

    if start in NO_RUN:
        return None
    near = did_you_mean(start, NO_RUN)
    if near and not Path(start).exists():
        raise ConfigError(f"--from {start!r} is unknown{near}", hint="give a run, genes or none")
    return read_run(Path(start)).config
