"""Device, run folder and seed for the stages of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from gimp_plugin.training.ranks import Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Device, run folder and seed of a training.

    Parameters
    ----------
    accelerator
        Device, precision and processes.
    folder
        The run folder; checkpoints and the log go there.
    seed
        Seed of everything that is drawn.
    num_workers
        Number of loader processes.
    """

    accelerator: Accelerator
    folder: Path
    seed: int
    num_workers: int = 0

    @property
    def ranks(self) -> Ranks:
        """The processes that train together."""
        return Ranks.of(self.accelerator)
