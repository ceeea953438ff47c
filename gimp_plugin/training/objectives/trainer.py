"""The trainer around an objective: that of GiMP, with another pre-training."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.training.gimp import GimpTrainer
from gimp_plugin.training.loop import fit
from gimp_plugin.training.material import Material
from gimp_plugin.training.objectives.pairs import PairStage

logger = logging.getLogger(__name__)


class PairTrainer(GimpTrainer):
    """GiMP's trainer with another pre-training; `training.pairs` explains `pairs`."""

    pairs = True
    stage: ClassVar[type[PairStage]]

    def pretrain(self, model: GimpModel, material: Material) -> dict[str, Any]:
        """Train both encoders by pairs; do nothing if the model lacks a half.

        Parameters
        ----------
        model
            The model; it ends with the last epoch's weights.
        material
            The cases; those with both halves take part, with or without a label.

        Returns
        -------
        Metrics of the stage by its name.
        """
        if model.aggregator is None or model.gene_encoder is None:
            return {}
        stage = self.stage(
            model,
            self.config,
            material=material.only(slides=True, genes=True),
            seed=self.tools.seed,
            device=self.tools.accelerator.device,
            ranks=self.tools.ranks,
            num_workers=self.tools.num_workers,
        )
        result = fit(stage, self.tools)
        matched = result["epochs"][-1].get("val_retrieval", 1.0)
        if matched <= 0.5:
            logger.warning(
                "the halves of validation cases are matched no better than by chance "
                "(val_retrieval %.3g): what pre-training learned does not carry over to new cases",
                matched,
            )
        return {stage.name: result}
