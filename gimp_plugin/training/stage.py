"""What one stage of the training offers to the loop that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin.config.stages import Optimisation
from gimp_plugin.models.gimp import GimpModel

LOSS = "loss"

Terms = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True, slots=True)
class Step:
    """One batch, ready for `Stage.forward`.

    Parameters
    ----------
    case_ids
        Cases of the batch, to be named when something is wrong with them.
    inputs
        Arguments of `Stage.forward`.
    """

    case_ids: Sequence[str]
    inputs: dict[str, Any] = field(default_factory=dict)


class Stage(nn.Module):
    """One stage: its batches, its loss and its validation.

    A stage is a module whose `forward` gives the loss, so that accelerate can wrap it for several
    processes. Its weights are those of `self.model`.

    Parameters
    ----------
    model
        The model that is trained.
    settings
        The stage's table of the configuration.
    dim
        Hidden dimension d of the model.
    """

    name: ClassVar[str]

    def __init__(self, model: GimpModel, settings: Optimisation, *, dim: int) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.dim = dim

    def n_batches(self) -> int:
        """Steps of an epoch; the same for each."""
        raise NotImplementedError  # abstract

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[Step]:
        """Batches of an epoch on the stage's device, the first `skip` left out."""
        raise NotImplementedError  # abstract

    def forward(self, **inputs: Any) -> Terms:
        """Loss of a batch: `loss` is minimised, the other terms are logged."""
        raise NotImplementedError  # abstract

    def validate(self) -> dict[str, float]:
        """Metrics on the validation cases; empty when there are none."""
        raise NotImplementedError  # abstract

    def score(self, metrics: dict[str, float]) -> tuple[float, ...] | None:
        """Rank of an epoch by its validation metrics, larger is better; None keeps the last."""
        raise NotImplementedError  # abstract
