"""Fusion of the two halves of a patient (paper, section 2.3)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gimp_plugin.config import ModelConfig


class Concat(nn.Module):
    """CLS_img beside CLS_ge; a learned token replaces a half that a patient lacks.

    Parameters
    ----------
    dim
        Hidden dimension d of each half.
    has_slides, has_genes
        Which halves the model has.
    """

    def __init__(self, dim: int, *, has_slides: bool = True, has_genes: bool = True) -> None:
        super().__init__()
        self.slides_token = _token(dim) if has_slides else None
        self.genes_token = _token(dim) if has_genes else None
        self.out_dim = dim * (has_slides + has_genes)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Concat:
        """Make the fusion that a configuration describes."""
        return cls(config.dim, has_slides=config.has_slides, has_genes=config.has_genes)

    def forward(
        self,
        cls_img: Float[Tensor, "batch dim"] | None,
        cls_ge: Float[Tensor, "batch dim"] | None,
        has_slides: Bool[Tensor, " batch"],
        has_genes: Bool[Tensor, " batch"],
    ) -> Float[Tensor, "batch out"]:
        """Put the halves side by side.

        Parameters
        ----------
        cls_img, cls_ge
            The halves; None for a half that no patient of the batch has.
        has_slides, has_genes
            Which patients have which half; the values in the others' rows do not matter.

        Returns
        -------
        `out_dim` values per patient.
        """
        halves = [
            _half(cls, token, has)
            for cls, token, has in (
                (cls_img, self.slides_token, has_slides),
                (cls_ge, self.genes_token, has_genes),
            )
            if token is not None
        ]
        return torch.cat(halves, dim=-1)


def _token(dim: int) -> nn.Parameter:
    """A learned token."""
    return nn.Parameter(torch.empty(dim).normal_(std=0.02))


def _half(
    cls: Float[Tensor, "batch dim"] | None,
    token: Float[Tensor, " dim"],
    has: Bool[Tensor, " batch"],
) -> Float[Tensor, "batch dim"]:
    """The half of each patient, or the token."""
    if cls is None:
        return token.expand(len(has), -1)
    return torch.where(rearrange(has, "b -> b 1"), cls, token)
