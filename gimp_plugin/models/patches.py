"""From patch features to tokens, and back to features for masked patch modeling."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin.models.places import Picked


def normalised(
    features: Float[Tensor, "*patch feature"], norm: str
) -> Float[Tensor, "*patch feature"]:
    """Features with mean 0 and variance 1 over each patch (`layer`), or as they are (`none`)."""
    return features if norm == "none" else functional.layer_norm(features, features.shape[-1:])


class PatchEmbedding(nn.Module):
    """Linear embedding of patch features, with one learned token for masked patches.

    Parameters
    ----------
    feature_dim
        Features of a patch.
    dim
        Hidden dimension d.
    norm
        `layer` normalises each patch over its features, because their scale differs between
        encoders; `none` uses them unchanged.
    """

    def __init__(self, feature_dim: int, dim: int, *, norm: str = "layer") -> None:
        super().__init__()
        self.norm = norm
        self.projection = nn.Linear(feature_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim).normal_(std=0.02))

    def normalise(
        self, features: Float[Tensor, "*patch feature"]
    ) -> Float[Tensor, "*patch feature"]:
        """Features as the model sees them, which are also the target of its reconstruction."""
        return normalised(features.to(self.mask_token.dtype), self.norm)

    def forward(
        self, features: Float[Tensor, "batch patch feature"], visible: Picked | None = None
    ) -> Float[Tensor, "batch patch dim"]:
        """Embed the visible patches; all others share the mask token.

        Parameters
        ----------
        features
            Patch features in any floating type.
        visible
            Index of the patches that exist and are not hidden; all by default.

        Returns
        -------
        One token per patch; those of the padding do not matter.
        """
        if visible is None:
            return self.projection(self.normalise(features))
        embedded = self.projection(self.normalise(features[visible]))
        tokens = self.mask_token.expand(*features.shape[:2], -1)
        return tokens.index_put(visible, embedded.to(tokens.dtype))


class Decoder(nn.Sequential):
    """Lightweight reconstruction decoder: a norm and a linear layer (paper, section 2.3).

    Parameters
    ----------
    dim
        Hidden dimension d.
    feature_dim
        Features of a patch.
    depth
        Hidden layers between them, each with GELU.
    width
        Width of the hidden layers; 0 makes it dim.
    """

    def __init__(self, dim: int, feature_dim: int, *, depth: int = 0, width: int = 0) -> None:
        widths = [dim, *[width or dim] * depth]
        hidden = [(nn.Linear(*sizes), nn.GELU()) for sizes in itertools.pairwise(widths)]
        layers = itertools.chain.from_iterable(hidden)
        super().__init__(nn.LayerNorm(dim), *layers, nn.Linear(widths[-1], feature_dim))
