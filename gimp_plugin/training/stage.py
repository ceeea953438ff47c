"""What one stage of the training offers to the loop that runs it."""

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
        Cases of the batch, those of all ranks, to be named when something is wrong with them.
    inputs
        Arguments of `Stage.forward`; of several ranks each has its share.
    """

    case_ids: Sequence[str]
    inputs: dict[str, Any] = field(default_factory=dict)


def mean_cross_entropy(
    logits: Float[Tensor, "loaded class"],
    labels: Int[Tensor, " own"],
    ranks: Ranks,
    weights: Float[Tensor, " class"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the whole batch, from each rank's own cases; they stand first."""
    if ranks.world == 1:
        return functional.cross_entropy(logits, labels, weights)
    own = functional.cross_entropy(logits[: len(labels)], labels, weights, reduction="sum")
    return ranks.mean(own, len(labels) if weights is None else weights[labels].sum())


class Stage(nn.Module):
    """One stage: its batches, its loss and its validation.

    A stage is a module whose `forward` gives the loss, so that accelerate can wrap it for several
    processes. Its weights are those of `self.model`. The loss is that of the whole batch on every
    rank, its gradient that of the rank's own share.

    Parameters
    ----------
    model
        The model that is trained.
    settings
        The stage's table of the configuration.
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
