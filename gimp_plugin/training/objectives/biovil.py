"""BioViL: global contrast, and masked genes in place of masked words (arXiv 2204.09817).

Carried over: CLS_img replaces the embedding of the image and CLS_ge that of the report; both are
projected and compared by InfoNCE in both directions. Masked language modelling becomes masked gene
modelling: 15 % of the genes of a case are set to 0, the mean of the training cases, and a linear
decoder predicts their values from CLS_ge. As in the original, the text half (here the genes) is
trained too, and its masked pass is separate from the pass that is compared.

Left out, because genes have no counterpart: pre-training of the text half alone on other corpora
and its vocabulary, matching of report sections, and shuffling of sentences. Local alignment belongs
to the variant BioViL-L; BioViL has none. The training code of BioViL is not published: temperature
and weight are our reading of the paper and cannot be checked against code
(github.com/microsoft/hi-ml only predicts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gimp_plugin.assembly.seeding import derived
from gimp_plugin.data.batches import Batch
from gimp_plugin.data.cases import Case
from gimp_plugin.models.masking import draw_mask
from gimp_plugin.models.pair_losses import contrastive_loss, squared_error
from gimp_plugin.training.objectives.pairs import Objective, PairStage, projection
from gimp_plugin.training.objectives.trainer import PairTrainer

TEMPERATURE = 0.5
CONTRAST_WEIGHT = 0.5
MASKED_SHARE = 0.15
"""Share of the genes that is masked; the same as BERT's share of words."""


class BioViLStage(PairStage):
    """Contrast the two halves, and predict masked genes from the others."""

    def add_heads(self) -> None:
        """Make both projections and the gene decoder."""
        self.project_slides, self.project_genes = projection(self.dim), projection(self.dim)
        self.gene_decoder = nn.Linear(self.dim, self.n_genes)

    def more_inputs(self, batch: Batch, members: Sequence[Case], epoch: int) -> dict[str, Any]:
        """Give the places of the patches, and which genes of each case are masked."""
        generators = [
            torch.Generator().manual_seed(derived(self.seed, "genes", epoch, case.case_id))
            for case in members
        ]
        every = torch.ones(len(members), self.n_genes, dtype=torch.bool)
        hidden = draw_mask(every, MASKED_SHARE, generators)
        return {**super().more_inputs(batch, members, epoch), "hidden": hidden}

    def objective(self, inputs: dict[str, Any]) -> Objective:
        """L = 0.5 L_contrast + L_masked."""
        genes, hidden = inputs["genes"], inputs["hidden"]
        cls_img, _ = self.model.aggregate_at(inputs["features"], inputs["places"])
        cls_ge = self.model.encode_genes(genes)
        rest = self.model.encode_genes(genes.masked_fill(hidden, 0.0))
        with self.exact():
            slides = self.whole(self.project_slides(cls_img.float()), inputs)
            others = self.whole(self.project_genes(cls_ge.float()), inputs)
            errors = squared_error(self.gene_decoder(rest.float()), genes, hidden)
            losses = {
                "contrast": (
                    CONTRAST_WEIGHT,
                    contrastive_loss(slides, others, temperature=TEMPERATURE),
                ),
                "masked_genes": (1.0, self.mean(errors, inputs)),
            }
        return Objective(slides, others, losses)


class BioViLTrainer(PairTrainer):
    """Registered as the trainer `biovil`."""

    stage = BioViLStage
