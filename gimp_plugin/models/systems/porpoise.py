"""PORPOISE: attention, SNN and Kronecker fusion (Chen et al. 2022, 10.1016/j.ccell.2022.07.004)."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin import keys
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.abmil import GatedScores
from gimp_plugin.models.snn import SNNEncoder
from gimp_plugin.models.system import require_modalities
from gimp_plugin.models.systems.kronecker import GatedKronecker

REDUCTION, INPUT_DROPOUT = 8, 0.1


class Porpoise(nn.Module):
    """Gated attention over patches, two self-normalising layers on genes, and their fusion.

    The paper's model predicts hazards of survival, this one logits of classes. It reads expression,
    mutations and copy numbers of selected genes, this one the genes of the cohort. In the paper,
    patches are embedded in 512 values and halves in 256; here all are in d. As in the paper, the
    fusion reduces each half to an eighth. The paper's SNN has ELU and alpha dropout; ours has SELU,
    which makes it self-normalising. Here the layers after the products also have dropout.

    Parameters
    ----------
    config
        The model's configuration: `dim`, `embedding_dropout` (.25 in the paper).
    feature_dim
        Features of a patch.
    n_genes
        Number of genes of a case.
    n_classes
        Number of classes.
    """

    def __init__(
        self, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> None:
        super().__init__()
        dim, dropout = config.dim, config.embedding_dropout
        self.embed = nn.Sequential(
            nn.Dropout(INPUT_DROPOUT), nn.Linear(feature_dim, dim), nn.ReLU(), nn.Dropout(dropout)
        )
        self.attention = GatedScores(dim, dropout=dropout)
        self.bag = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout))
        self.genes = SNNEncoder.from_config(config, n_genes=n_genes)
        self.fusion = GatedKronecker(
            dim,
            reduced=max(1, dim // REDUCTION),
            out_dim=dim,
            dropout=dropout,
            bilinear=False,
        )
        self.head = nn.Linear(dim, n_classes)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> Porpoise:
        """Make the system that a configuration describes."""
        require_modalities(config, keys.BOTH)
        return cls(config, feature_dim=feature_dim, n_genes=n_genes, n_classes=n_classes)

    def forward(
        self, features: Float[Tensor, "patch feature"], genes: Float[Tensor, " gene"]
    ) -> Float[Tensor, " class"]:
        """Give the logits of a case."""
        patches = self.embed(features)
        pooled = einsum(self._weights(patches), patches, "h n, n d -> d")
        return self.head(self.fusion(self.bag(pooled), self.genes(genes)))

    @torch.no_grad()
    def attend(self, features: Float[Tensor, "patch feature"]) -> Float[Tensor, "1 patch"]:
        """Attention to each patch."""
        return self._weights(self.embed(features))

    def _weights(self, patches: Float[Tensor, "patch dim"]) -> Float[Tensor, "1 patch"]:
        """Attention to each patch; it sums to 1."""
        return rearrange(self.attention.scores(patches).softmax(dim=0), "n 1 -> 1 n")
