"""Interface between a stage of the training and the loop that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin.config.stages import Optimisation
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.training.ranks import Ranks

LOSS = "loss"

Terms = dict[str, Float[Tensor, ""]]


@dataclass(frozen=True, slots=True)
class Step:
    """One batch, ready for `Stage.forward`.

    Parameters
    ----------
    case_ids
        Cases of the batch, of all ranks, to name in an error.
    inputs
        Arguments of `Stage.forward`; each rank has its own share.
    """

    case_ids: Sequence[str]
    inputs: dict[str, Any] = field(default_factory=dict)


def mean_cross_entropy(
    logits: Float[Tensor, "loaded class"],
    labels: Int[Tensor, " own"],
    ranks: Ranks,
    weights: Float[Tensor, " class"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the whole batch; a rank's own cases are the first of its rows."""
    if ranks.world == 1:
        return functional.cross_entropy(logits, labels, weights)
    own = functional.cross_entropy(logits[: len(labels)], labels, weights, reduction="sum")
    return ranks.mean(own, len(labels) if weights is None else weights[labels].sum())


class Stage(nn.Module):
    """One stage: its batches, its loss and its validation.

    A stage is a module whose `forward` returns the loss, so that accelerate can wrap it for several
    processes. It trains the weights of `self.model`. On every rank, the loss is that of the whole
    batch, and its gradient that of the rank's own share.

    Parameters
    ----------
    model
        The model that is trained.
    settings
        Settings of the stage, its table of the configuration.
    dim
        Hidden dimension d of the model.
    ranks
        The processes that train together.
    """

    name: ClassVar[str]

    def __init__(self, model: GimpModel, settings: Optimisation, *, dim: int, ranks: Ranks) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.dim = dim
        self.ranks = ranks

    def n_batches(self) -> int:
        """Steps of an epoch, the same for all epochs."""
        raise NotImplementedError  # abstract

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[Step]:
        """Batches of an epoch on the stage's device, without the first `skip`."""
        raise NotImplementedError  # abstract

    def forward(self, **inputs: Any) -> Terms:
        """Loss terms of a batch: `loss` is minimised, the others are logged."""
        raise NotImplementedError  # abstract

    def validate(self) -> dict[str, float]:
        """Metrics on the validation cases; empty when there are none."""
        raise NotImplementedError  # abstract

    def score(self, metrics: dict[str, float]) -> tuple[float, ...] | None:
        """Rank of an epoch by its validation metrics, larger is better; None keeps the last."""
        raise NotImplementedError  # abstract
