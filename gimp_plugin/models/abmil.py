"""Gated attention pooling (Ilse et al. 2018, arXiv 1802.04712): the baseline for bags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin.config import ModelConfig
from gimp_plugin.models.places import Picked, picked


class GatedScores(nn.Module):
    """Gated attention of patches before the softmax: w (tanh(V h) * sigmoid(U h)).

    Parameters
    ----------
    dim
        Hidden dimension d.
    hidden
        Number of rows of V and U; half of d by default, as in CLAM.
    n_heads
        Number of vectors w.
    dropout
        Dropout after the tanh and the sigmoid.
    """

    def __init__(
        self, dim: int, *, hidden: int = 0, n_heads: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        hidden = hidden or max(1, dim // 2)
        self.value = nn.Linear(dim, hidden)
        self.gate = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, n_heads)
        self.dropout = dropout

    def scores(self, tokens: Float[Tensor, "*patch dim"]) -> Float[Tensor, "*patch head"]:
        """Score of each patch, by head."""
        value, gate = torch.tanh(self.value(tokens)), torch.sigmoid(self.gate(tokens))
        if self.dropout:
            value = functional.dropout(value, self.dropout, self.training)
            gate = functional.dropout(gate, self.dropout, self.training)
        return self.score(value * gate)


class GatedAttention(GatedScores):
    """CLS_img as the mean of the patches, weighted by gated attention (equation 9 of the paper).

    The attention of a patch is the softmax of w (tanh(V h) * sigmoid(U h)) over the patches of the
    case, of all slides together. The order and position of the patches do not matter. The hidden
    size is half of d, as in CLAM.

    Parameters
    ----------
    dim
        Hidden dimension d.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.dim = dim

    @classmethod
    def from_config(cls, config: ModelConfig) -> GatedAttention:
        """Make the aggregator that a configuration describes."""
        return cls(config.dim)

    def forward(
        self,
        tokens: Float[Tensor, "batch patch dim"],
        valid: Bool[Tensor, "batch patch"],
        *,
        slide: Int[Tensor, "batch patch"] | None = None,
        rows: Bool[Tensor, "batch patch"] | None = None,
        plan: Picked | None = None,
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "rows dim"]]:
        """Aggregate the patches of each case.

        Parameters
        ----------
        tokens
            Embedded patches; a case without any gets zeros.
        valid
            True for patches that exist; padding follows them.
        slide
            Ignored.
        rows
            Patches that are wanted besides CLS_img; none by default. They are returned unchanged:
            this aggregator passes nothing from patch to patch, so masked patch modeling cannot
            learn anything.
        plan
            Result of `plan` for these masks, if computed in advance.

        Returns
        -------
        CLS_img, and the wanted patches, case after case.
        """
        cls_img = einsum(self.weights(tokens, valid), tokens, "b n, b n d -> b d")
        return cls_img, tokens[plan or self.plan(valid, slide=slide, rows=rows)]

    def plan(
        self,
        valid: Bool[Tensor, "batch patch"],
        *,
        slide: Int[Tensor, "batch patch"] | None = None,  # noqa: ARG002  # all slides are one bag
        rows: Bool[Tensor, "batch patch"] | None = None,
        masked: Bool[Tensor, "batch patch"] | None = None,  # noqa: ARG002  # not needed here
    ) -> Picked:
        """Work out which patches are wanted."""
        return picked(torch.zeros_like(valid) if rows is None else rows)

    @torch.no_grad()
    def attend(
        self, tokens: Iterable[Float[Tensor, "_ dim"]], sizes: Sequence[int]
    ) -> tuple[Float[Tensor, "1 dim"], Float[Tensor, "1 _"]]:
        """CLS_img of one case, and the attention of the only head to each patch.

        Parameters
        ----------
        tokens
            Embedded patches, some at a time.
        sizes
            Ignored.

        Returns
        -------
        CLS_img, and the attention, which sums to 1.
        """
        del sizes
        every = rearrange(torch.cat(list(tokens)), "n d -> 1 n d")
        weights = self.weights(every, every.new_ones(every.shape[:2], dtype=torch.bool))
        return einsum(weights, every, "b n, b n d -> b d"), weights

    def weights(
        self, tokens: Float[Tensor, "batch patch dim"], valid: Bool[Tensor, "batch patch"]
    ) -> Float[Tensor, "batch patch"]:
        """Attention to each patch: 0 for padding; it sums to 1 for a case with any patch."""
        scores = rearrange(self.scores(tokens), "b n 1 -> b n")
        scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=1) * valid
