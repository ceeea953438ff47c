"""Learning curves for TensorBoard, through accelerate's trackers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gimp_plugin.storage.runs import TENSORBOARD, remove_events
from gimp_plugin.training.tools import Tools


@contextmanager
def tracked(tools: Tools) -> Iterator[None]:
    """Keep the accelerator's trackers open while a run is trained.

    Events that an earlier process of the run wrote are deleted: each stage sends the epochs of its
    checkpoint again, so that every epoch appears once, wherever that process was killed.

    Parameters
    ----------
    tools
        Accelerator and run folder; only the main process writes.
    """
    accelerator, ranks = tools.accelerator, tools.ranks
    with ranks.together():
        if accelerator.log_with and ranks.is_main:
            remove_events(tools.folder)
        accelerator.init_trackers(TENSORBOARD)
    try:
        yield
    finally:
        for tracker in accelerator.trackers:  # end_training would also leave the process group
            tracker.finish()


def track(tools: Tools, stage: str, epoch: int, values: Mapping[str, float]) -> None:
    """Send the values of an epoch, counted from 1, to the trackers, if any."""
    tagged = {f"{stage}/{name}": value for name, value in values.items()}
    tools.accelerator.log(tagged, step=epoch)
