"""Train one model through all stages, as studies do for each of their arms."""

from __future__ import annotations

from pathlib import Path

from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.training import RunResult, finetune, pretrain

PRETRAINED = "pretrain"
PRETRAIN, FINETUNE = "pretrain", "finetune"


def train(
    source: CohortSource, config: GimpConfig, *, start: str, folder: Path, runtime: Runtime
) -> tuple[RunResult, ...]:
    """Pre-train if asked for, and fine-tune; runs that are complete and current are kept.

    Parameters
    ----------
    source
        Where the cases are.
    config
        Settings of the model and the training.
    start
        `pretrain` for both stages; `genes` or `none` as for `finetune`.
    folder
        Where the run folders `pretrain` and `finetune` go.
    runtime
        Device, precision and seed.

    Returns
    -------
    The result of each stage, the fine-tuned run last.
    """
    first: tuple[RunResult, ...] = ()
    if start == PRETRAINED:
        first = (pretrain(source, config, output=folder / PRETRAIN, runtime=runtime),)
        start = str(folder / PRETRAIN)
    tuned = finetune(source, config, start=start, output=folder / FINETUNE, runtime=runtime)
    return (*first, tuned)
