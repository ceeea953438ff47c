"""REFERS: predict genes from slides, and align both halves (doi:10.1038/s42256-021-00425-9).

Carried over: report generation becomes a linear decoder that predicts the standardised expression
of all genes from CLS_img, with the mean squared error in place of the cross-entropy of each word.
Consistency of a study with its report becomes InfoNCE of CLS_img with a linear map of CLS_ge. The
two terms have the same weight. As in the published code are the temperature and the share of three
quarters of the contrast for finding the genes that belong to given slides. The attention that fuses
the views of a study becomes the aggregator's attention over the patches of a slide: a window of
pre-training comes from one slide, and fine-tuning and prediction see all slides of a case at once.

Different here: the direction from genes to slides has a gradient. The published code converts it to
a plain number first, so nothing is learned from it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from gimp_plugin.models.pair_losses import contrastive_loss, squared_error
from gimp_plugin.training.objectives.pairs import Objective, PairStage
from gimp_plugin.training.objectives.trainer import PairTrainer

TEMPERATURE, SLIDES_SHARE = 0.1, 0.75


class RefersStage(PairStage):
    """Predict expression from slides, and contrast the two halves."""

    def add_heads(self) -> None:
        """Make the map of CLS_ge and the gene decoder."""
        self.project_genes = nn.Linear(self.dim, self.dim)
        self.gene_decoder = nn.Linear(self.dim, self.n_genes)

    def objective(self, inputs: dict[str, Any]) -> Objective:
        """L = L_expression + L_consistency."""
        cls_img, _ = self.model.aggregate_at(inputs["features"], inputs["places"])
        cls_ge = self.model.encode_genes(inputs["genes"])
        with self.exact():
            slides = self.whole(cls_img, inputs)
            genes = self.whole(self.project_genes(cls_ge.float()), inputs)
            errors = squared_error(self.gene_decoder(cls_img.float()), inputs["genes"])
            consistency = contrastive_loss(
                slides, genes, temperature=TEMPERATURE, slides_share=SLIDES_SHARE
            )
            losses = {
                "expression": (1.0, self.mean(errors, inputs)),
                "consistency": (1.0, consistency),
            }
        return Objective(slides, genes, losses)


class RefersTrainer(PairTrainer):
    """Registered as the trainer `refers`."""

    stage = RefersStage
