"""A gene encoder."""

from __future__ import annotations

from torch import Tensor, nn


class LinearGenes(nn.Module):
    """CLS_ge as a linear map of all genes, normalised."""

    def __init__(self, config, *, n_genes: int) -> None:
        super().__init__()
        self.dim = config.dim
        self.linear = nn.Linear(n_genes, config.dim)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, genes: Tensor) -> Tensor:
        """Encode standardised expression, shape (case, gene)."""
        return self.norm(self.linear(genes))
