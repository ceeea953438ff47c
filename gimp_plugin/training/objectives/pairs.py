"""Base of the objectives: both encoders learn which slides and genes belong to one case."""

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
"""Dimension in which halves are compared, as in MGCA and BioViL."""


class Objective(NamedTuple):
    """Result of an objective for the whole batch.

    Parameters
    ----------
    slides, genes
        Embeddings that are compared.
    losses
        Weight and value of each term, by its name.
    """

    slides: Float[Tensor, "batch dim"]
    genes: Float[Tensor, "batch dim"]
    losses: dict[str, tuple[float, Float[Tensor, ""]]]


class PairStage(WindowStage):
    """Train both encoders by pairs; labels are not used.

    Parameters
    ----------
    model
        A model with patches, aggregator and gene encoder.
    config
        The configuration; this stage reads the table `pretrain`: epochs, rate, batches, windows.
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
        """Number of genes of a case."""
        return self.material.genes_of(self.material.train[:1]).shape[1]

    def add_heads(self) -> None:
        """Make the layers that the objective adds to the model; they end with the stage."""
        raise NotImplementedError  # abstract

    def objective(self, inputs: dict[str, Any]) -> Objective:
        """Encode a batch and measure how well its halves agree."""
        raise NotImplementedError  # abstract

    def more_inputs(self, batch: Batch, members: Sequence[Case], epoch: int) -> dict[str, Any]:
        """Give the places of the patches, and other inputs of the objective, on the CPU."""
        del members, epoch
        return {"places": self.model.places(batch.valid, slide=batch.slide)}

    def batches(self, epoch: int, *, skip: int = 0) -> Iterator[Step]:
        """Windows and genes of the training cases, shuffled."""
        yield from self._steps("train", self._order(epoch)[skip:], epoch)

    def forward(self, **inputs: Any) -> Terms:
        """Weighted sum of the terms of the objective, and each term."""
        return _terms(self.objective(inputs))

    def validate(self) -> dict[str, float]:
        """Terms on fixed windows of the validation cases, and how well their halves match."""
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
        """Rows of the whole batch; those of this rank carry a gradient."""
        return self.ranks.rows(own.float(), inputs["n_cases"])

    def mean(self, of_each: Float[Tensor, " own"], inputs: dict[str, Any]) -> Float[Tensor, ""]:
        """Mean over the whole batch, from one value per case of this rank."""
        n_own, total = inputs["n_own"], of_each[: inputs["n_own"]].sum()
        return total / n_own if self.ranks.world == 1 else self.ranks.mean(total, n_own)

    def exact(self) -> torch.autocast:
        """Compute losses in float32 within a block, whatever the precision of the encoders."""
        return torch.autocast(self.device.type, enabled=False)

    def _order(self, epoch: int) -> list[list[int]]:
        """Indices of the training cases of each batch."""
        size = self.settings.batch_size
        return shuffled_batches(len(self.material.train), size, seed=self.seed, epoch=epoch)

    def _steps(self, part: str, order: Sequence[Sequence[int]], epoch: int) -> Iterator[Step]:
        """Load windows and genes, and move both to the device."""
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
    """Give two layers that project into the space where halves are compared."""
    # MGCA, and BioViL for images, use batch normalisation here, which would make the cases of our
    # small batches depend on each other; we use layer normalisation, as BioViL does for texts.
    return nn.Sequential(
        nn.Linear(dim, dim), nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, PROJECTION_DIM)
    )


def _terms(found: Objective) -> Terms:
    """The loss, and each term by itself."""
    total = torch.stack([weight * value for weight, value in found.losses.values()]).sum()
    return {LOSS: total, **{name: value.detach() for name, (_, value) in found.losses.items()}}
