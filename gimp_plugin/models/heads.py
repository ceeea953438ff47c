"""Classification heads, from the fused halves to logits."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin.config import ModelConfig


class LinearHead(nn.Module):
    """Dropout and one linear layer.

    Parameters
    ----------
    in_dim
        Size of the fused embedding, CLS_ge last.
    n_classes
        Number of classes.
    dropout
        Dropout on the embedding.
    """

    def __init__(self, in_dim: int, n_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_dim, n_classes)

    def forward(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch class"]:
        """Give the logits."""
        return self.linear(self.dropout(embedding))

    @torch.no_grad()
    def start_from(self, classifier: nn.Linear) -> None:
        """Copy a classifier of CLS_ge into the part of the layer that reads CLS_ge."""
        self.linear.weight[:, -classifier.in_features :] = classifier.weight
        self.linear.bias.copy_(classifier.bias)


def linear(config: ModelConfig, *, in_dim: int, n_classes: int) -> LinearHead:
    """Linear head, which did better than the MLP when there were few genes.

    Parameters
    ----------
    config
        The model's configuration.
    in_dim
        Size of the fused embedding.
    n_classes
        Number of classes.

    Returns
    -------
    The head.
    """
    return LinearHead(in_dim, n_classes, dropout=config.embedding_dropout)


def mlp(config: ModelConfig, *, in_dim: int, n_classes: int) -> nn.Sequential:
    """MLP head with one hidden layer of size d (paper, section 2.3).

    Parameters
    ----------
    config
        The model's configuration.
    in_dim
        Size of the fused embedding.
    n_classes
        Number of classes.

    Returns
    -------
    The head.
    """
    return nn.Sequential(
        nn.Dropout(config.embedding_dropout),
        nn.Linear(in_dim, config.dim),
        nn.GELU(),
        nn.Dropout(config.head_dropout),
        nn.Linear(config.dim, n_classes),
    )
