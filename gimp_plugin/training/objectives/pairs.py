"""What the objectives share: both encoders learn which slides and which genes are of one case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin.assembly.seeding import seeded
from gimp_plugin.config import GimpConfig
from gimp_plugin.data.batches import Batch, moved
from gimp_plugin.data.cases import Case
from gimp_plugin.data.order import shuffled_batches
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.pair_losses import retrieval
from gimp_plugin.training.material import Material
from gimp_plugin.training.stage import LOSS, Step, Terms
from gimp_plugin.training.windows import VALIDATION_EPOCH, WindowStage

PROJECTION_DIM = 128
"""Dimension in which halves are compared; MGCA's and BioViL's."""


class Objective(NamedTuple):
    """What an objective says of a batch.

    Parameters
    ----------
    slides, genes
        Embeddings that are compared, of the whole batch.
    losses
        Weight and value of each term by its name; values of the whole batch.
    """

    slides: Float[Tensor, "batch dim"]
    genes: Float[Tensor, "batch dim"]
    losses: dict[str, tuple[float, Float[Tensor, ""]]]


class PairStage(WindowStage):
    """Train both encoders by pairs; no label has a part in it.

    Parameters
    ----------
    model
        A model with patches, aggregator and gene encoder.
    config
        The configuration; the table `pretrain` is this stage's: epochs, rate, batches, windows.
    material
        The cases; each has both halves.
    **place
        `seed`, `device`, `num_workers` and `ranks`, as for `WindowStage`.
    """

    def __init__(
        self, model: GimpModel, config: GimpConfig, *, material: Material, **place: Any
    ) -> None:
        super().__init__(model, config, material=material, **place)
        for part in (model.patches, model.aggregator, model.gene_encoder):
            part.requires_grad_(True)
        with seeded(self.seed, "objective"):
            self.add_heads()

    @property
    def n_genes(self) -> int:
        """Genes of a case."""
        return self.material.genes_of(self.material.train[:1]).shape[1]

    def add_heads(self) -> None:
        """Make what the objective needs beside the model; it is not kept after the stage."""
        raise NotImplementedError  # abstract

    def objective(self, inputs: dict[str, Any]) -> Objective:
        """Encode a batch and say how well its halves agree."""
        raise NotImplementedError  # abstract

    def more_inputs(self, batch: Batch, members: Sequence[Case], epoch: int) -> dict[str, Any]:
        """Where the patches go, and what else the objective needs of a batch, on the CPU."""
        del members, epoch
        return {"places": self.model.places(batch.valid, slide=batch.slide)}

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[Step]:
        """Windows and genes of the training cases, shuffled."""
        yield from self._steps("train", self._order(epoch)[skip:], epoch)

    def forward(self, **inputs: Any) -> Terms:
        """Sum of the objective's terms, with each of them."""
        return _terms(self.objective(inputs))

    def validate(self) -> dict[str, float]:
        """The terms on fixed windows of the validation cases, and how well their halves match."""
        size, n_cases = self.settings.batch_size, len(self.material.val)
        if n_cases < 2:
            return {}
        order = [list(range(at, min(at + size, n_cases))) for at in range(0, n_cases, size)]
        sums: dict[str, float] = {}
        found = []
        for indices, step in zip(order, self._steps("val", order, VALIDATION_EPOCH), strict=True):
            found.append(self.objective(step.inputs))
            for name, value in _terms(found[-1]).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices) / n_cases
        slides, genes = (
            torch.cat([getattr(one, name) for one in found]) for name in ("slides", "genes")
        )
        metrics = {f"val_{name}": value for name, value in sums.items()}
        return {**metrics, "val_retrieval": retrieval(slides, genes)}

    def whole(
        self, own: Float[Tensor, "own dim"], inputs: dict[str, Any]
    ) -> Float[Tensor, "batch dim"]:
        """Rows of the whole batch, those of this rank with a gradient."""
        return self.ranks.rows(own.float(), inputs["n_cases"])

    def mean(self, of_each: Float[Tensor, " own"], inputs: dict[str, Any]) -> Float[Tensor, ""]:
        """Mean over the whole batch of what this rank has of each of its cases."""
        n_own, total = inputs["n_own"], of_each[: inputs["n_own"]].sum()
        return total / n_own if self.ranks.world == 1 else self.ranks.mean(total, n_own)

    def exact(self) -> torch.autocast:
        """Block in which losses are computed in float32, whatever the encoders run in."""
        return torch.autocast(self.device.type, enabled=False)

    def _order(self, epoch: int) -> list[list[int]]:
        """Training cases of each batch."""
        size = self.settings.batch_size
        return shuffled_batches(len(self.material.train), size, seed=self.seed, epoch=epoch)

    def _steps(self, part: str, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Step]:
        """Load windows and genes, and bring both to the device."""
        for whole, members, batch in self._windows(part, order, epoch, self.ranks):
            inputs = {
                "features": batch.features,
                "genes": self.material.genes_of(members),
                "n_cases": len(whole),
                "n_own": len(self.ranks.share(whole)),
                **self.more_inputs(batch, members, epoch),
            }
            yield Step([case.case_id for case in whole], moved(inputs, self.device))


def projection(dim: int) -> nn.Sequential:
    """Two layers into the space where halves are compared."""
    # MGCA, and BioViL for its images, have batch normalisation here, which would tie the cases of
    # our small batches together; a norm over the dimensions, BioViL's for its texts, is here.
    return nn.Sequential(
        nn.Linear(dim, dim), nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, PROJECTION_DIM)
    )


def _terms(found: Objective) -> Terms:
    """The loss, and each term alone."""
    total = torch.stack([weight * value for weight, value in found.losses.values()]).sum()
    return {LOSS: total, **{name: value.detach() for name, (_, value) in found.losses.items()}}
