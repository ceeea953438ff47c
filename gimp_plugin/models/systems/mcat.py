"""MCAT: gene sets that attend to patches, and two set transformers (Chen et al., ICCV 2021)."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin import keys
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.abmil import GatedScores
from gimp_plugin.models.group_msa import gene_layout
from gimp_plugin.models.snn import SNNEncoder
from gimp_plugin.models.system import require_modalities

N_LAYERS = 2


class SetPooling(nn.Module):
    """Two transformer layers over a set, gated attention pooling, and a linear layer.

    As in MCAT, the feed-forward parts have twice the width, and norms follow each part.

    Parameters
    ----------
    config
        The model's configuration.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, dropout = config.dim, config.embedding_dropout
        layer = nn.TransformerEncoderLayer(
            dim, config.n_heads, dim_feedforward=2 * dim, dropout=dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, N_LAYERS, enable_nested_tensor=False)
        self.attention = GatedScores(dim, hidden=dim, dropout=dropout)
        self.last = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, members: Float[Tensor, "group dim"]) -> Float[Tensor, " dim"]:
        """Pool the members of a set."""
        members = self.transformer(rearrange(members, "g d -> 1 g d"))[0]
        weights = self.attention.scores(members).softmax(dim=0)
        return self.last(einsum(weights, members, "g h, g d -> d"))


class MCAT(nn.Module):
    """Genomic-guided co-attention, each half pooled as a set, both concatenated and classified.

    The paper's model predicts hazards of survival, this one logits of classes. In the paper, each
    of six functional gene sets has an SNN; here, each group of GroupMSA has one: equal numbers of
    neighbouring genes, as ordered by the gene grouping (`gmt:FILE` for gene sets). In the paper, d
    is 256, the transformers have 8 heads, the co-attention has one head, and dropout is .25. Its
    SNNs use ELU and alpha dropout; ours use SELU, which makes them self-normalising.

    Parameters
    ----------
    config
        The model's configuration: `dim`, `n_heads`, `n_groups`, `n_fragments`, `embedding_dropout`.
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
        layout = gene_layout(n_genes, n_groups=config.n_groups, n_fragments=config.n_fragments)
        self.genes_per_group = layout.genes_per_group
        sizes = [len(genes) for genes in torch.split(torch.arange(n_genes), self.genes_per_group)]
        self.embed = nn.Sequential(nn.Linear(feature_dim, dim), nn.ReLU(), nn.Dropout(dropout))
        self.groups = nn.ModuleList(SNNEncoder.from_config(config, n_genes=size) for size in sizes)
        self.co_attention = nn.MultiheadAttention(dim, num_heads=1, batch_first=True)
        self.image, self.genes = SetPooling(config), SetPooling(config)
        self.fusion = nn.Sequential(
            nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU()
        )
        self.head = nn.Linear(dim, n_classes)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> MCAT:
        """Make the system that a configuration describes."""
        require_modalities(config, keys.BOTH)
        return cls(config, feature_dim=feature_dim, n_genes=n_genes, n_classes=n_classes)

    def forward(
        self, features: Float[Tensor, "patch feature"], genes: Float[Tensor, " gene"]
    ) -> Float[Tensor, " class"]:
        """Give the logits of a case."""
        patches = rearrange(self.embed(features), "n d -> 1 n d")
        groups = torch.stack(
            [
                embed(own)
                for embed, own in zip(
                    self.groups, torch.split(genes, self.genes_per_group), strict=True
                )
            ]
        )
        queries = rearrange(groups, "g d -> 1 g d")
        seen, _ = self.co_attention(queries, patches, patches, need_weights=False)
        halves = torch.cat([self.image(seen[0]), self.genes(groups)])
        return self.head(self.fusion(halves))
