"""The only stage of a system: its own loss, case by case, in the frame of fine-tuning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gimp_plugin.data.batches import Batch
from gimp_plugin.models.system import SystemModel, loss_of
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.stage import LOSS, Terms


class SystemStage(FinetuneStage):
    """Train a system as fine-tuning trains GiMP: order, patches, validation and choice are its.

    A system sees one case at a time, without padding; the loss of a batch is the mean of its cases,
    each weighted by its class. No half is dropped, for a system knows no token to replace it.
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
        """Loss of one case; that of a case which fills up a rank is of no account."""
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
