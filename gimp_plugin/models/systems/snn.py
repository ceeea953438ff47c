"""SNN: a self-normalising network on genes (Klambauer et al. 2017, arXiv 1706.02515)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin import keys
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.snn import SNNEncoder
from gimp_plugin.models.system import require_modalities


class SNN(nn.Module):
    """Two self-normalising layers and a linear classifier.

    Two layers of equal width, as in the SNNs of PORPOISE and MCAT, whose width is 256; the paper
    searches over 2 to 32 layers. The width here is d, and the dropout is `embedding_dropout`.

    Parameters
    ----------
    config
        The model's configuration.
    n_genes
        Number of genes of a case.
    n_classes
        Number of classes.
    """

    def __init__(self, config: ModelConfig, *, n_genes: int, n_classes: int) -> None:
        super().__init__()
        self.layers = SNNEncoder.from_config(config, n_genes=n_genes)
        self.head = nn.Linear(config.dim, n_classes)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> SNN:
        """Make the system that a configuration describes."""
        del feature_dim
        require_modalities(config, keys.GENES)
        return cls(config, n_genes=n_genes, n_classes=n_classes)

    def forward(
        self, features: Float[Tensor, "patch feature"] | None, genes: Float[Tensor, " gene"]
    ) -> Float[Tensor, " class"]:
        """Give the logits of a case; the features are None."""
        del features
        return self.head(self.layers(genes))
