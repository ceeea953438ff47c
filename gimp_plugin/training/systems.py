"""The only stage of a system: fine-tuning with the system's own loss, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gimp_plugin.config import ModelConfig
from gimp_plugin.data.batches import Batch
from gimp_plugin.data.cases import Case
from gimp_plugin.errors import ConfigError, PairingError, listed
from gimp_plugin.models.system import SystemModel, loss_of
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.stage import LOSS, Terms


class SystemStage(FinetuneStage):
    """Train a system with the order, patches, validation and choice of epoch of fine-tuning.

    A system sees one case at a time, without padding; the loss of a batch is the mean over its
    cases, weighted by class. No half is dropped, because a system has no token to replace it.
    """

    model: SystemModel

    def forward(self, **inputs: Any) -> Terms:
        """Mean of the system's loss over the cases of the batch."""
        labels = inputs["labels"]
        losses = torch.stack(
            [self._loss(case, inputs) for case in range(len(inputs["has_slides"]))]
        )
        weights = torch.ones_like(losses[: len(labels)])
        if self.class_weights is not None:
            weights = self.class_weights[labels]
        total, weight = (losses[: len(labels)] * weights).sum(), weights.sum()
        return {LOSS: total / weight if self.ranks.world == 1 else self.ranks.mean(total, weight)}

    def _loss(self, case: int, inputs: dict[str, Any]) -> Tensor:
        """Loss of one case; that of an extra case that fills a rank is ignored."""
        features = genes = None
        if "features" in inputs:
            features = self.model.seen(inputs["features"][case, : inputs["sizes"][case]])
        if "genes" in inputs:
            genes = inputs["genes"][case]
        own = inputs["labels"][case : case + 1]
        label = own[0] if len(own) else own.new_zeros(())
        return loss_of(self.model.system, features, genes, label)

    def _patches(self, batch: Batch) -> dict[str, Any]:
        """Arguments of `forward` for slides."""
        return {"features": batch.features, "sizes": tuple(batch.valid.sum(dim=1).tolist())}


def check_fresh(model: ModelConfig, asked: str) -> None:
    """Refuse to pre-train a system, or to start one from a pre-training.

    Parameters
    ----------
    model
        Settings of the model.
    asked
        Command or option that asks for it, as a user types it.

    Raises
    ------
    ConfigError
        If the model is a system.
    """
    if model.system:
        problem = f"the system {model.system!r} has no pre-training, and {asked} asks for one"
        raise ConfigError(problem, hint="gimp finetune --from none trains it")


def check_whole(model: ModelConfig, cases: Sequence[Case]) -> None:
    """Refuse to train a system on cases that lack a half that it reads.

    Parameters
    ----------
    model
        Settings of the model.
    cases
        The cases.

    Raises
    ------
    PairingError
        If the model is a system and a case lacks a half.
    """
    lacking = [
        case.case_id
        for case in cases
        if case.has_slides < model.has_slides or case.has_genes < model.has_genes
    ]
    if model.system and lacking:
        problem = (
            f"{len(lacking)} of {len(cases)} cases lack slides or genes, and the system "
            f"{model.system!r} needs both: {listed(lacking)}"
        )
        raise PairingError(problem, hint="leave them out with --missing drop")
