"""Content of a checkpoint: the progress of a stage, and the tensors of its model and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gimp_plugin.training.stage import Stage

MODEL, OWN, BEST = "model.", "stage.", "best."
FIRST, SECOND, STEP = "adam.exp_avg.", "adam.exp_avg_sq.", "adam.step."


@dataclass(slots=True)
class Progress:
    """Progress of a stage: everything in a checkpoint except the tensors."""

    stage: str
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: list[float] | None = None
    finished: bool = False
    earlier: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Convert the progress to JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}

    def result(self) -> dict[str, Any]:
        """Give the entry of the stage in `metrics.json`."""
        return {"chosen_epoch": self.best_epoch + 1, "epochs": self.history}


def tensors_of(
    stage: Stage, optimiser: Optimizer | None, *, best: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Collect the tensors of a checkpoint.

    Parameters
    ----------
    stage
        The stage, for the weights of its model and its own.
    optimiser
        AdamW, for its moments; None for a stage that is finished.
    best
        Weights of the best epoch so far.

    Returns
    -------
    The tensors by name.
    """
    tensors = {MODEL + name: one for name, one in stage.model.state_dict().items()}
    own = stage.state_dict().items()
    tensors |= {OWN + name: one for name, one in own if not name.startswith(MODEL)}
    tensors |= {BEST + name: one for name, one in best.items()}
    if optimiser is not None:
        for name, parameter in stage.named_parameters():
            state = optimiser.state.get(parameter)
            if state:
                tensors[FIRST + name] = state["exp_avg"]
                tensors[SECOND + name] = state["exp_avg_sq"]
                tensors[STEP + name] = state["step"]
    return tensors


def load_moments(
    stage: Stage, optimiser: Optimizer, tensors: Mapping[str, Tensor], *, n_done: int
) -> None:
    """Restore the moments of AdamW from a checkpoint.

    Parameters
    ----------
    stage
        The stage.
    optimiser
        AdamW.
    tensors
        Tensors of the checkpoint.
    n_done
        Steps done so far, used for a parameter whose own step count is not in the checkpoint: a
        parameter that had no gradient in some steps has done fewer.
    """
    first, second, steps = (under(prefix, tensors) for prefix in (FIRST, SECOND, STEP))
    every = torch.tensor(float(n_done))
    for name, parameter in stage.named_parameters():
        if name in first:
            optimiser.state[parameter] = {
                "step": steps.get(name, every).to(parameter.device, copy=True),
                "exp_avg": first[name].to(parameter.device),
                "exp_avg_sq": second[name].to(parameter.device),
            }


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors whose name starts with a prefix, with the prefix removed."""
    return {
        name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)
    }
