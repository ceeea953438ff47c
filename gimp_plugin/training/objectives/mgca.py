"""MGCA: instances, tokens and prototypes of both halves aligned (arXiv 2210.06044).

Carried over: the instances are CLS_img and CLS_ge. The image tokens are the patches that the
aggregator returns, at most 196 per window (as many as a radiograph has), redrawn in each epoch; the
words of the report become the group tokens of GroupMSA. With a gene encoder that has no
`encode_tokens`, or a single group, the token term is left out with a warning. Prototypes represent
diseases; the halves swap their Sinkhorn codes.

Weights, temperatures and the attention without learned weights follow the published code.
Different here: all tokens have the same weight, whereas MGCA weights them by the attention that CLS
pays them, which Nyström attention does not give in training; projections have no batch
normalisation; prototypes are trained from the first epoch, not from the second.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin.assembly.seeding import derived
from gimp_plugin.data.batches import Batch
from gimp_plugin.data.cases import Case
from gimp_plugin.models.pair_losses import (
    contrastive_loss,
    prototype_loss,
    soft_codes,
    token_alignment,
)
from gimp_plugin.models.places import picked
from gimp_plugin.training.objectives.pairs import (
    PROJECTION_DIM,
    Objective,
    PairStage,
    projection,
)
from gimp_plugin.training.objectives.trainer import PairTrainer
from gimp_plugin.training.windows import first_copies

logger = logging.getLogger(__name__)

N_PATCHES = 196
TEMPERATURE, TOKEN_TEMPERATURE, PROTOTYPE_TEMPERATURE = 0.07, 0.1, 0.2
N_PROTOTYPES, EPSILON, N_ITERATIONS = 500, 0.05, 3


class MGCAStage(PairStage):
    """Three alignments of the two halves, with equal weights."""

    def add_heads(self) -> None:
        """Make the projections and the prototypes."""
        self.project_slides, self.project_genes = projection(self.dim), projection(self.dim)
        self.project_patches, self.project_groups = projection(self.dim), projection(self.dim)
        self.prototypes = nn.Parameter(torch.empty(N_PROTOTYPES, PROJECTION_DIM).normal_())
        genes = self.material.genes_of(self.material.train[:1]).to(self.device)
        with torch.no_grad():
            tokens = self.model.encode_gene_tokens(genes)[1]
        self.aligns_tokens = tokens is not None and tokens.shape[1] > 1
        if not self.aligns_tokens:
            text = "%s gives fewer than two gene tokens: MGCA trains without token alignment"
            logger.warning(text, type(self.model.gene_encoder).__name__)

    def more_inputs(self, batch: Batch, members: Sequence[Case], epoch: int) -> dict[str, Any]:
        """Give the places of the patches, which are compared, and the slots of those."""
        chosen = torch.zeros_like(batch.valid)
        for row, (real, case) in enumerate(
            zip(batch.valid & first_copies(batch.source), members, strict=True)
        ):
            own = real.nonzero().squeeze(1)
            seed = derived(self.seed, "tokens", epoch, case.case_id)
            order = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))
            chosen[row, own[order[:N_PATCHES]]] = True
        n_chosen = chosen.sum(dim=1, keepdim=True)
        compared = torch.arange(int(n_chosen.max())) < n_chosen
        places = self.model.places(batch.valid, slide=batch.slide, counted=chosen)
        return {"places": places, "compared": compared, "slots": picked(compared)}

    def objective(self, inputs: dict[str, Any]) -> Objective:
        """L = L_instances + L_tokens + L_prototypes."""
        cls_img, patches = self.model.aggregate_at(inputs["features"], inputs["places"])
        cls_ge, groups = self.model.encode_gene_tokens(inputs["genes"])
        with self.exact():
            slides = self.whole(self.project_slides(cls_img.float()), inputs)
            genes = self.whole(self.project_genes(cls_ge.float()), inputs)
            instances = contrastive_loss(slides, genes, temperature=TEMPERATURE)
            losses = {
                "instances": (2.0, instances),  # the original adds the two directions
                "prototypes": (1.0, self._prototypes(slides, genes, inputs)),
            }
            if self.aligns_tokens and groups is not None:
                losses["tokens"] = (1.0, self._tokens(patches.float(), groups.float(), inputs))
        return Objective(slides, genes, losses)

    def _tokens(
        self,
        patches: Float[Tensor, "rows dim"],
        groups: Float[Tensor, "batch group dim"],
        inputs: dict[str, Any],
    ) -> Float[Tensor, ""]:
        """Alignment of patches to genes plus that of genes to patches."""
        compared: Bool[Tensor, "batch patch"] = inputs["compared"]
        projected, others = self.project_patches(patches), self.project_groups(groups)
        own = projected.new_zeros(*compared.shape, PROJECTION_DIM)
        own = own.index_put(inputs["slots"], projected)
        every = torch.ones(groups.shape[:2], dtype=torch.bool, device=groups.device)
        of_patches = token_alignment(
            own, others, valid=compared, valid_others=every, temperature=TOKEN_TEMPERATURE
        )
        of_genes = token_alignment(
            others, own, valid=every, valid_others=compared, temperature=TOKEN_TEMPERATURE
        )
        return self.mean(of_patches + of_genes, inputs)

    def _prototypes(
        self,
        slides: Float[Tensor, "batch dim"],
        genes: Float[Tensor, "batch dim"],
        inputs: dict[str, Any],
    ) -> Float[Tensor, ""]:
        """Prototype scores of each half against the codes of the other, for this rank's cases."""
        prototypes = functional.normalize(self.prototypes)
        own = slice(self.ranks.rank, None, self.ranks.world)
        scores = [functional.normalize(half) @ prototypes.T for half in (slides, genes)]
        codes = [soft_codes(one, epsilon=EPSILON, n_iterations=N_ITERATIONS) for one in scores]
        crossed = [
            prototype_loss(one[own], code[own], temperature=PROTOTYPE_TEMPERATURE)
            for one, code in zip(scores, reversed(codes), strict=True)
        ]
        return self.mean((crossed[0] + crossed[1]) / 2, inputs)


class MGCATrainer(PairTrainer):
    """Registered as the trainer `mgca`."""

    stage = MGCAStage
