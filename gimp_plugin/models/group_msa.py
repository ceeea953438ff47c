"""GroupMSA, the gene encoder: attention within and between groups of fragments (section 2.1)."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin.config import ModelConfig
from gimp_plugin.errors import ConfigError

GENES_PER_GROUP = 240
MAX_GROUPS = 16
GENES_PER_FRAGMENT = 60
LINEAR_PATH_STD = 0.3


class GeneLayout(NamedTuple):
    """How a gene vector is cut into groups of consecutive fragments of consecutive genes."""

    n_groups: int
    n_fragments: int
    fragment_size: int

    @property
    def genes_per_group(self) -> int:
        """Number of genes of a group; the last groups may be filled up."""
        return self.fragment_size * self.n_fragments // self.n_groups


def gene_layout(n_genes: int, *, n_groups: int = 0, n_fragments: int = 0) -> GeneLayout:
    """Cut a gene vector into fragments and groups; the last fragments are filled up with zeros.

    Parameters
    ----------
    n_genes
        N_ge, 1 or more.
    n_groups
        N_gr; 0 means one group per 240 genes or so, at most 16.
    n_fragments
        N_f, a multiple of the groups; 0 means fragments of about 60 genes.

    Returns
    -------
    The layout.

    Raises
    ------
    ConfigError
        If the fragments cannot be divided evenly among the groups.

    Examples
    --------
    >>> gene_layout(60480)
    GeneLayout(n_groups=16, n_fragments=1008, fragment_size=60)
    >>> gene_layout(779)
    GeneLayout(n_groups=3, n_fragments=15, fragment_size=52)
    """
    n_groups = n_groups or min(MAX_GROUPS, max(1, round(n_genes / GENES_PER_GROUP)))
    n_fragments = n_fragments or n_groups * ceil(n_genes / (GENES_PER_FRAGMENT * n_groups))
    if n_fragments % n_groups:
        problem = f"n_fragments = {n_fragments} is not a multiple of n_groups = {n_groups}"
        raise ConfigError(problem, hint="set either to 0 to derive it from the number of genes")
    return GeneLayout(n_groups, n_fragments, ceil(n_genes / n_fragments))


class FirstTokenAttention(nn.Module):
    """Pre-norm multi-head self-attention with a residual path, computed for the first token only.

    The outputs of the other tokens are not used. With one query per head, the keys and values of
    single tokens are not needed either: q (W_k x) = (W_k' q) x, and the mean of W_v x is W_v times
    the mean of x.

    Parameters
    ----------
    dim
        Hidden dimension d.
    n_heads
        Attention heads.
    dropout
        Dropout of the output.
    """

    def __init__(self, dim: int, n_heads: int, *, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "group fragment dim"]) -> Float[Tensor, "group dim"]:
        """Give the first token of each set after attention to its set."""
        normed = self.norm(tokens)
        w_q, w_k, w_v = rearrange(
            self.to_qkv.weight, "(three h e) d -> three h e d", three=3, h=self.n_heads
        )
        query = einsum(normed[:, 0], w_q, "g d, h e d -> g h e") * w_q.shape[1] ** -0.5
        query = einsum(query, w_k, "g h e, h e d -> g h d")
        weights = einsum(query, normed, "g h d, g t d -> g h t").softmax(dim=-1)
        seen = einsum(weights, normed, "g h t, g t d -> g h d")
        out = rearrange(einsum(seen, w_v, "g h d, h e d -> g h e"), "g h e -> g (h e)")
        return tokens[:, 0] + self.dropout(self.to_out(out))


class GroupMSA(nn.Module):
    """Gene encoder: from fragments to group tokens, from group tokens to CLS_ge.

    Parameters
    ----------
    n_genes
        N_ge.
    dim, n_heads
        Hidden dimension d and attention heads.
    n_groups, n_fragments
        N_gr and N_f; 0 derives them from the number of genes.
    projection
        `per_fragment` weights, or one `shared` matrix, which cannot distinguish genes.
    linear_path
        Whether to add a linear map of all genes to CLS_ge. With it, a linear classifier of CLS_ge
        can express any linear classifier of the genes.
    dropout
        Dropout after each attention layer.
    """

    def __init__(
        self,
        n_genes: int,
        *,
        dim: int,
        n_heads: int,
        n_groups: int = 0,
        n_fragments: int = 0,
        projection: str = "per_fragment",
        linear_path: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.layout = gene_layout(n_genes, n_groups=n_groups, n_fragments=n_fragments)
        size = self.layout.fragment_size
        shape = (size, dim) if projection == "shared" else (self.layout.n_fragments, size, dim)
        self.projection = nn.Parameter(torch.empty(shape).uniform_(-(size**-0.5), size**-0.5))
        self.fragment_tokens = _tokens(self.layout.n_fragments, dim)
        self.group_tokens = _tokens(self.layout.n_groups, dim)
        self.cls_token = _tokens(1, dim)
        self.within_groups = FirstTokenAttention(dim, n_heads, dropout=dropout)
        self.between_groups = FirstTokenAttention(dim, n_heads, dropout=dropout)
        self.norm = nn.LayerNorm(dim)
        self.linear_path: nn.Linear | None = None
        if linear_path:
            self.linear_path = nn.Linear(n_genes, dim, bias=False)
            nn.init.normal_(self.linear_path.weight, std=LINEAR_PATH_STD / n_genes**0.5)

    @classmethod
    def from_config(cls, config: ModelConfig, *, n_genes: int) -> GroupMSA:
        """Make the encoder that a configuration describes, for a number of genes."""
        return cls(
            n_genes,
            dim=config.dim,
            n_heads=config.n_heads,
            n_groups=config.n_groups,
            n_fragments=config.n_fragments,
            projection=config.gene_projection,
            linear_path=config.gene_linear_path,
            dropout=config.attention_dropout,
        )

    @property
    def genes_per_group(self) -> int:
        """Genes of a group."""
        return self.layout.genes_per_group

    def forward(self, genes: Float[Tensor, "batch gene"]) -> Float[Tensor, "batch dim"]:
        """Encode standardised expression.

        Parameters
        ----------
        genes
            Expression, genes in the order of the training; 0 is the mean of a gene.

        Returns
        -------
        CLS_ge of each case.
        """
        return self.encode_tokens(genes)[0]

    def encode_tokens(
        self, genes: Float[Tensor, "batch gene"]
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch group dim"]]:
        """CLS_ge, and the token of each group after attention within the group."""
        n_cases = len(genes)
        fragments = rearrange(
            self._fragments(genes), "b (g f) d -> (b g) f d", g=self.layout.n_groups
        )
        group_tokens = repeat(self.group_tokens, "g d -> (b g) 1 d", b=n_cases)
        groups = self.within_groups(torch.cat([group_tokens, fragments], dim=1))
        cls_token = repeat(self.cls_token, "1 d -> b 1 d", b=n_cases)
        groups = rearrange(groups, "(b g) d -> b g d", b=n_cases)
        cls_ge = self.norm(self.between_groups(torch.cat([cls_token, groups], dim=1)))
        if self.linear_path is not None:
            cls_ge = cls_ge + self.linear_path(genes)
        return cls_ge, groups

    def _fragments(self, genes: Float[Tensor, "batch gene"]) -> Float[Tensor, "batch fragment dim"]:
        """Fragment features H_f; the zeros that fill up the last fragments give no gradient."""
        n_slots = self.layout.n_fragments * self.layout.fragment_size
        padded = functional.pad(genes, (0, n_slots - genes.shape[1]))
        pieces = rearrange(padded, "b (f s) -> f b s", f=self.layout.n_fragments)
        return rearrange(pieces @ self.projection, "f b d -> b f d") + self.fragment_tokens


def _tokens(n_tokens: int, dim: int) -> nn.Parameter:
    """Learned tokens."""
    return nn.Parameter(torch.empty(n_tokens, dim).normal_(std=0.02))
