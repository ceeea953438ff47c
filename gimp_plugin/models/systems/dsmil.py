"""DSMIL: a critical patch and the distance of others to it (Li et al. 2021, arXiv 2011.08939)."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin import keys
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.system import require_modalities


class DSMIL(nn.Module):
    """Two streams whose logits are averaged.

    The instance stream classifies each patch; the logit of a class is that of its highest patch,
    the critical patch. For each class, the bag stream weights the values of all patches by the
    softmax of the products of their queries with the query of the critical patch; it classifies
    the sums of all classes together. As in the authors' code, products are divided by the square
    root of the query size, and the loss is the mean of the losses of both streams. Here these are
    cross-entropies, because classes exclude each other; the authors use a binary cross-entropy per
    class. Their queries have 128 dimensions and their values as many as the features; here both
    have d. Their contrastive pre-training of features and pyramid of magnifications are left out:
    patch features are given.

    Parameters
    ----------
    config
        The model's configuration: `dim`, `embedding_dropout` (of the values; 0 in the paper).
    feature_dim
        Features of a patch.
    n_classes
        Number of classes.
    """

    def __init__(self, config: ModelConfig, *, feature_dim: int, n_classes: int) -> None:
        super().__init__()
        dim = config.dim
        self.instance = nn.Linear(feature_dim, n_classes)
        self.query = nn.Linear(feature_dim, dim)
        self.value = nn.Sequential(
            nn.Dropout(config.embedding_dropout), nn.Linear(feature_dim, dim)
        )
        self.bag = nn.Linear(n_classes * dim, n_classes)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> DSMIL:
        """Make the system that a configuration describes."""
        del n_genes
        require_modalities(config, keys.SLIDES)
        return cls(config, feature_dim=feature_dim, n_classes=n_classes)

    def forward(
        self, features: Float[Tensor, "patch feature"], genes: Float[Tensor, " gene"] | None
    ) -> Float[Tensor, " class"]:
        """Give the logits of a case; the genes are None."""
        del genes
        instance, bag = self.streams(features)
        return (instance + bag) / 2

    def loss(
        self,
        features: Float[Tensor, "patch feature"],
        genes: Float[Tensor, " gene"] | None,
        label: Int[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """Mean of the cross-entropies of both streams."""
        del genes
        instance, bag = self.streams(features)
        return (
            functional.cross_entropy(instance, label) + functional.cross_entropy(bag, label)
        ) / 2

    def streams(
        self, features: Float[Tensor, "patch feature"]
    ) -> tuple[Float[Tensor, " class"], Float[Tensor, " class"]]:
        """Logits of the instance stream and of the bag stream."""
        instance, weights = self._weights(features)
        sums = einsum(weights, self.value(features), "c n, n d -> c d")
        return instance, self.bag(rearrange(sums, "c d -> (c d)"))

    @torch.no_grad()
    def attend(self, features: Float[Tensor, "patch feature"]) -> Float[Tensor, "class patch"]:
        """Weights of the patches in the bag stream, for each class."""
        return self._weights(features)[1]

    def _weights(
        self, features: Float[Tensor, "patch feature"]
    ) -> tuple[Float[Tensor, " class"], Float[Tensor, "class patch"]]:
        """Logits of the critical patches, and each patch's weight for each class."""
        instance, critical = self.instance(features).max(dim=0)
        queries = self.query(features)
        scores = einsum(queries[critical], queries, "c d, n d -> c n") * queries.shape[1] ** -0.5
        return instance, scores.softmax(dim=1)
