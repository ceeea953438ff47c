"""Learning curves for TensorBoard, through accelerate's trackers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gimp_plugin.storage.runs import TENSORBOARD, remove_events
from gimp_plugin.training.tools import Tools


@contextmanager
def tracked(tools: Tools) -> Iterator[None]:
    """Keep the trackers that the accelerator was made with open while a run is trained.

    What an earlier process of the run had written goes: each stage tells the epochs of its
    checkpoint again, so that every epoch stands there once, wherever that process was killed.

    Parameters
    ----------
    tools
        Accelerator and run folder; the main process alone writes.
    """
    accelerator, ranks = tools.accelerator, tools.ranks
    with ranks.together():
        if accelerator.log_with and ranks.is_main:
            remove_events(tools.folder)
        accelerator.init_trackers(TENSORBOARD)
    try:
        yield
    finally:
        for tracker in accelerator.trackers:  # end_training would leave the process group, too
            tracker.finish()


def track(tools: Tools, stage: str, epoch: int, values: Mapping[str, float]) -> None:
    """Tell the trackers, if there are any, the values of an epoch, counted from 1."""
    tagged = {f"{stage}/{name}": value for name, value in values.items()}
    tools.accelerator.log(tagged, step=epoch)
