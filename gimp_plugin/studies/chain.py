"""Training one model from its beginning to its end, as studies do it for each of their arms."""

from __future__ import annotations

from pathlib import Path

from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.training import RunResult, finetune, pretrain

PRETRAINED = "pretrain"
PRETRAIN, FINETUNE = "pretrain", "finetune"


def train(
    source: CohortSource, config: GimpConfig, *, start: str, folder: Path, runtime: Runtime
) -> tuple[RunResult, ...]:
    """Pre-train where it is asked for, and fine-tune; what is complete and current stays.

    Parameters
    ----------
    source
        Where the cases are.
    config
        Model and training.
    start
        `pretrain` for both stages; `genes` or `none` as `finetune` takes them.
    folder
        Where the run folders `pretrain` and `finetune` go.
    runtime
        Device, precision and seed.

    Returns
    -------
    What each stage did; the fine-tuned run is the last.
    """
    first: tuple[RunResult, ...] = ()
    if start == PRETRAINED:
        first = (pretrain(source, config, output=folder / PRETRAIN, runtime=runtime),)
        start = str(folder / PRETRAIN)
    tuned = finetune(source, config, start=start, output=folder / FINETUNE, runtime=runtime)
    return (*first, tuned)
