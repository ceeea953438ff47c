"""Base of every pre-training on slides: windows of patches, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from gimp_plugin.config import GimpConfig, PretrainConfig
from gimp_plugin.data.batches import Batch, load, window_draw
from gimp_plugin.data.cases import Case
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.training.material import Material
from gimp_plugin.training.ranks import ALONE, Ranks
from gimp_plugin.training.stage import Stage

VALIDATION_EPOCH = 2**31
"""Epoch number that seeds the validation windows and masks, so that they never change."""


class WindowStage(Stage):
    """A stage that learns from windows of slides, and keeps its last epoch (paper, section 3.1).

    Parameters
    ----------
    model
        A model with patches and aggregator; subclasses say which parts are trained.
    config
        The configuration; this stage reads the table `pretrain`.
    material
        The cases.
    seed
        Seed of the order, the windows and the masks.
    device
        Device of the model.
    num_workers
        Number of loader processes.
    ranks
        The processes that train together.
    """

    name = "pretrain"
    settings: PretrainConfig

    def __init__(
        self,
        model: GimpModel,
        config: GimpConfig,
        *,
        material: Material,
        seed: int,
        device: torch.device,
        num_workers: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(model, config.pretrain, dim=config.model.dim, ranks=ranks)
        self.material, self.seed, self.device = material, seed, device
        self.num_workers = num_workers
        model.requires_grad_(False)
        model.to(device)

    def n_batches(self) -> int:
        """Steps of an epoch."""
        return len(self._order(0))

    def score(self, metrics: dict[str, float]) -> None:  # noqa: ARG002  # Stage's signature
        """Pre-training keeps its last epoch (paper, section 3.1)."""
        return

    def _order(self, epoch: int) -> list[list[int]]:
        """Indices of the training cases of each batch."""
        raise NotImplementedError  # abstract

    def _cases(self, part: str) -> Sequence[Case]:
        """Cases of `train` or `val`."""
        return self.material.train if part == "train" else self.material.val

    def _windows(
        self, part: str, order: Sequence[Sequence[int]], epoch: int, ranks: Ranks
    ) -> Iterator[tuple[list[Case], list[Case], Batch]]:
        """Cases of each batch, this rank's cases among them, and a window of each of these."""
        cases = self._cases(part)
        batches = load(
            cases,
            [ranks.share(indices, filled=True) for indices in order],
            window_draw(self.settings),
            feature_dim=self.material.feature_dim,
            seed=self.seed,
            epoch=epoch,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        for indices, batch in zip(order, batches, strict=True):
            members = [cases[index] for index in batch.case.tolist()]
            yield [cases[index] for index in indices], members, batch


def first_copies(source: Tensor) -> Bool[Tensor, "batch patch"]:
    """True where a patch is the first copy of itself: everywhere except in tiled windows."""
    return source == torch.arange(source.shape[1], device=source.device)
