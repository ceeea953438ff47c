"""REFERS: genes foretold from slides, and both halves of a case alike (10.1038/s42256-021-00425-9).

Carried over: report generation becomes a linear decoder that gives the standardised expression of
all genes from CLS_img, by the mean squared error where the original has the cross-entropy of each
word. Consistency of a study with its report becomes InfoNCE of CLS_img with a linear map of CLS_ge.
The two weigh alike; the temperature, and three quarters of the contrast for finding the genes to
the slides, are those of the published code. The attention that fuses a study's views is the
aggregator's attention over the patches of a slide: a window of pre-training is of one slide, and
fine-tuning and prediction see all slides of a case at once.

Different here: the direction from genes to slides has a gradient. In the published code it is
turned into a number first and teaches nothing.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from gimp_plugin.models.pair_losses import contrastive_loss, squared_error
from gimp_plugin.training.objectives.pairs import Objective, PairStage
from gimp_plugin.training.objectives.trainer import PairTrainer

TEMPERATURE, SLIDES_SHARE = 0.1, 0.75


class RefersStage(PairStage):
    """Expression from slides, and contrast of the two halves."""

    def add_heads(self) -> None:
        """Make the map of CLS_ge and the decoder of genes."""
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
