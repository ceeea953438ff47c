"""The GiMP trainer: gene pre-training, GiMP pre-training, fine-tuning (paper, section 2.3)."""

from __future__ import annotations

import logging
from typing import Any

import torch

from gimp_plugin.config import GimpConfig
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.system import SystemModel
from gimp_plugin.training.calibration import calibration
from gimp_plugin.training.doubts import doubts_of_pretraining
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.genes import GeneStage
from gimp_plugin.training.loop import fit
from gimp_plugin.training.material import Material, labels_of
from gimp_plugin.training.pretraining import PretrainStage
from gimp_plugin.training.systems import SystemStage
from gimp_plugin.training.tools import Tools

logger = logging.getLogger(__name__)


class GimpTrainer:
    """Registered as the trainer `gimp`: three stages that each change one model in place.

    Parameters
    ----------
    config
        Settings of the model and the training.
    tools
        Device, run folder and seed.
    """

    def __init__(self, config: GimpConfig, tools: Tools) -> None:
        self.config, self.tools = config, tools

    def pretrain_genes(self, model: GimpModel, material: Material) -> dict[str, Any]:
        """Train the gene encoder with the labels; do nothing without a gene half.

        Parameters
        ----------
        model
            The model; it ends with the weights of the epoch with the lowest validation loss.
        material
            The cases.

        Returns
        -------
        Metrics of the stage by its name.
        """
        if model.gene_encoder is None:
            return {}
        stage = GeneStage(
            model,
            self.config,
            material=material.only(genes=True),
            seed=self.tools.seed,
            device=self.tools.accelerator.device,
            ranks=self.tools.ranks,
        )
        return {stage.name: fit(stage, self.tools)}

    def pretrain(self, model: GimpModel, material: Material) -> dict[str, Any]:
        """Train the image half by masked patches and triplets; do nothing without one.

        Parameters
        ----------
        model
            The model, with a pre-trained gene encoder; it ends with the last epoch's weights.
        material
            The cases.

        Returns
        -------
        Metrics of the stage by its name.
        """
        if model.aggregator is None:
            return {}
        stage = PretrainStage(
            model,
            self.config,
            material=material.only(slides=True),
            seed=self.tools.seed,
            device=self.tools.accelerator.device,
            ranks=self.tools.ranks,
            num_workers=self.tools.num_workers,
        )
        result = fit(stage, self.tools)
        weight = self.config.pretrain.reconstruction_weight
        for doubt in doubts_of_pretraining(result["epochs"][-1], weight=weight):
            logger.warning("%s", doubt)
        return {stage.name: result}

    def finetune(
        self, model: GimpModel, material: Material, *, frozen_genes: bool
    ) -> dict[str, Any]:
        """Train the classifier on both halves, then calibrate it on the validation cases.

        Parameters
        ----------
        model
            The model, or a system; it ends with the weights of the best epoch on the validation
            cases.
        material
            The cases.
        frozen_genes
            Whether the gene encoder was pre-trained and is not trained further.

        Returns
        -------
        Metrics of the stage by its name; `calibration` holds the temperature.
        """
        stage_of: type[FinetuneStage] = FinetuneStage
        if isinstance(model, SystemModel):
            stage_of = SystemStage
        elif frozen_genes and self.config.finetune.head_from_genes:
            model.start_head_from_gene_classifier()
        stage = stage_of(
            model,
            self.config,
            material=material,
            seed=self.tools.seed,
            device=self.tools.accelerator.device,
            ranks=self.tools.ranks,
            num_workers=self.tools.num_workers,
            frozen_genes=frozen_genes,
        )
        result = fit(stage, self.tools)
        stage.eval()
        with torch.no_grad():
            logits = stage.val_logits()
        return {stage.name: {**result, "calibration": calibration(logits, labels_of(material.val))}}
