"""What the stages of a training work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from gimp_plugin.training.ranks import Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a training works with.

    Parameters
    ----------
    accelerator
        Device, precision and processes.
    folder
        The run folder; checkpoints and the log go there.
    seed
        Of everything that is drawn.
    num_workers
        Loader processes.
    """

    accelerator: Accelerator
    folder: Path
    seed: int
    num_workers: int = 0

    @property
    def ranks(self) -> Ranks:
        """The processes that train together."""
        return Ranks.of(self.accelerator)
