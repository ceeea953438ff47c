"""Gated Kronecker fusion of two vectors (Chen et al. 2020, arXiv 1912.08937)."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn


class GatedKronecker(nn.Module):
    """Kronecker product of two gated vectors, with a 1 appended to each, and two layers.

    A vector h becomes o = ReLU(W_o (sigmoid(z) * ReLU(W_h h))), where z is a function of both
    vectors. The appended 1 keeps the values of each vector beside their products. In Pathomic
    Fusion, z is bilinear in both vectors, and the last layer also sees the gated vectors. In
    PORPOISE, z is linear, and the last layer also sees the given vectors.

    Parameters
    ----------
    dim
        Size of each vector.
    reduced
        Size of each gated vector.
    out_dim
        Size of the output.
    dropout
        Dropout after each layer except W_h and z.
    bilinear
        Whether to fuse as in Pathomic Fusion, not as in PORPOISE.
    """

    def __init__(
        self, dim: int, *, reduced: int, out_dim: int, dropout: float, bilinear: bool
    ) -> None:
        super().__init__()
        self.bilinear = bilinear
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, reduced), nn.ReLU()) for _ in range(2)
        )
        self.gates = nn.ModuleList(
            _Bilinear(dim, dim, reduced) if bilinear else nn.Linear(2 * dim, reduced)
            for _ in range(2)
        )
        self.outs = nn.ModuleList(_layer(reduced, reduced, dropout) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.products = _layer((reduced + 1) ** 2, out_dim, dropout)
        skipped = 2 * (reduced + 1) if bilinear else 2 * dim
        self.last = _layer(out_dim + skipped, out_dim, dropout)

    def forward(
        self, first: Float[Tensor, " dim"], second: Float[Tensor, " dim"]
    ) -> Float[Tensor, " out"]:
        """Fuse two vectors."""
        given = (first, second)
        seen = given if self.bilinear else (torch.cat(given),)
        one, other = (
            torch.cat([out(gate(*seen).sigmoid() * hidden(half)), half.new_ones(1)])
            for half, hidden, gate, out in zip(
                given, self.hidden, self.gates, self.outs, strict=True
            )
        )
        products = rearrange(einsum(one, other, "i, j -> i j"), "i j -> (i j)")
        fused = self.products(self.dropout(products))
        return self.last(torch.cat([fused, *((one, other) if self.bilinear else given)]))


class _Bilinear(nn.Bilinear):
    """torch's bilinear layer for single vectors, computed by products that autocast supports."""

    def forward(
        self, first: Float[Tensor, " dim"], second: Float[Tensor, " dim"]
    ) -> Float[Tensor, " out"]:
        """Give the product of both vectors with each matrix, plus the bias."""
        return einsum(first, self.weight, second, "i, o i j, j -> o") + self.bias


def _layer(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    """A linear layer, ReLU and dropout."""
    return nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout))
