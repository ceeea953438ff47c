"""TransMIL: Nyström attention with positions from convolutions (Shao et al. 2021, 2106.00908)."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin import keys
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.nystrom import NystromAttention
from gimp_plugin.models.system import require_modalities

PPEG_TAPS = (7, 5, 3)


class TransMIL(nn.Module):
    """Two layers of Nyström attention over the bag as a square, PPEG between them, CLS classified.

    Patches are repeated, starting from the first, until they fill a square; CLS is put in front. As
    in the authors' code, the attention is that of the package nystrom-attention, with zeros in
    front and the residual convolution. It is computed by our own forward pass, which gives the
    same for a single bag. In the paper, d is 512, with 8 heads, d/2 landmarks (as here) and
    dropout .1.

    Parameters
    ----------
    config
        The model's configuration: `dim`, `n_heads`, `pinv_iterations`, `attention_dropout`.
    feature_dim
        Features of a patch.
    n_classes
        Number of classes.
    """

    def __init__(self, config: ModelConfig, *, feature_dim: int, n_classes: int) -> None:
        super().__init__()
        dim = config.dim
        self.embed = nn.Sequential(nn.Linear(feature_dim, dim), nn.ReLU())
        self.cls_token = nn.Parameter(torch.randn(dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.attentions = nn.ModuleList(_attention(config) for _ in range(2))
        self.position = nn.ModuleList(
            nn.Conv2d(dim, dim, taps, padding=taps // 2, groups=dim) for taps in PPEG_TAPS
        )
        self.head = nn.Linear(dim, n_classes)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> TransMIL:
        """Make the system that a configuration describes."""
        del n_genes
        require_modalities(config, keys.SLIDES)
        return cls(config, feature_dim=feature_dim, n_classes=n_classes)

    def forward(
        self, features: Float[Tensor, "patch feature"], genes: Float[Tensor, " gene"] | None
    ) -> Float[Tensor, " class"]:
        """Give the logits of a case; the genes are None."""
        del genes
        patches = self.embed(features)
        side = math.isqrt(len(patches) - 1) + 1
        patches = torch.cat([patches, patches[: side**2 - len(patches)]])
        x = torch.cat([rearrange(self.cls_token, "d -> 1 d"), patches])
        x = self._attend(x, 0)
        x = torch.cat([x[:1], self._placed(x[1:], side)])
        x = self._attend(x, 1)
        return self.head(self.norms[2](x[0]))

    def _attend(self, x: Float[Tensor, "patch dim"], layer: int) -> Float[Tensor, "patch dim"]:
        """One layer: norm, attention, and the residual path."""
        return x + self.attentions[layer](rearrange(self.norms[layer](x), "n d -> 1 n d"))[0]

    def _placed(self, x: Float[Tensor, "patch dim"], side: int) -> Float[Tensor, "patch dim"]:
        """PPEG: add three depthwise convolutions over the square to the patches themselves."""
        square = rearrange(x, "(h w) d -> 1 d h w", h=side)
        placed = square + sum(convolution(square) for convolution in self.position)
        return rearrange(placed, "1 d h w -> (h w) d")


def _attention(config: ModelConfig) -> NystromAttention:
    """The package's attention with the paper's settings."""
    return NystromAttention(
        config.dim,
        segments="front_pad",
        cls_convolution=True,
        dim_head=config.dim // config.n_heads,
        heads=config.n_heads,
        num_landmarks=max(1, config.dim // 2),
        pinv_iterations=config.pinv_iterations,
        residual=True,
        dropout=config.attention_dropout,
    )
