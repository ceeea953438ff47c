"""An aggregator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanAggregator(nn.Module):
    """CLS_img as the mean of the patches of a case."""

    def __init__(self, config) -> None:
        super().__init__()
        self.dim = config.dim
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: Tensor, valid: Tensor, *, slide=None, rows=None):
        """Aggregate tokens, shape (case, patch, dim); `valid` is True for patches that exist."""
        real = valid[..., None]
        mean = torch.where(real, tokens, 0).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        wanted = torch.zeros_like(valid) if rows is None else rows
        return self.norm(mean), self.norm(tokens)[wanted]
