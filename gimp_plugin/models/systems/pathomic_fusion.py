"""Pathomic Fusion: gated Kronecker fusion of image and genes (Chen et al. 2020, 1912.08937)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin import keys
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.snn import SelfNormalising
from gimp_plugin.models.system import require_modalities
from gimp_plugin.models.systems.kronecker import GatedKronecker

REDUCTION = 8


class PathomicFusion(nn.Module):
    """The fusion of an image branch and an SNN branch, with bilinear gates and skip connections.

    In the paper, a VGG19 reads one region of interest and a graph network its nuclei. A bag of
    patches has neither: here the mean of the embedded patches replaces the CNN's features, and the
    graph is left out, as in the paper's experiments with two branches. In the paper, each branch
    ends with 32 values and the fusion with 64; here with d/8 and d/4, the same at d = 256. The
    paper's SNN has ELU, alpha dropout and four layers; ours has SELU and two. Here everything is
    trained together; in the paper, the branches are trained first.

    Parameters
    ----------
    config
        The model's configuration: `dim`, `embedding_dropout` (.25 in the paper).
    feature_dim
        Features of a patch.
    n_genes
        Number of genes of a case.
    n_classes
        Number of classes.
    """

    def __init__(
        self, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> None:
        super().__init__()
        dim, dropout = config.dim, config.embedding_dropout
        reduced = max(1, dim // REDUCTION)
        self.embed = nn.Sequential(nn.Linear(feature_dim, dim), nn.ReLU(), nn.Dropout(dropout))
        self.bag = nn.Sequential(nn.Linear(dim, reduced), nn.ReLU())
        self.genes = SelfNormalising((n_genes, dim, reduced), dropout=dropout)
        self.fusion = GatedKronecker(
            reduced,
            reduced=reduced,
            out_dim=2 * reduced,
            dropout=dropout,
            bilinear=True,
        )
        self.head = nn.Linear(2 * reduced, n_classes)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> PathomicFusion:
        """Make the system that a configuration describes."""
        require_modalities(config, keys.BOTH)
        return cls(config, feature_dim=feature_dim, n_genes=n_genes, n_classes=n_classes)

    def forward(
        self, features: Float[Tensor, "patch feature"], genes: Float[Tensor, " gene"]
    ) -> Float[Tensor, " class"]:
        """Give the logits of a case."""
        image = self.bag(self.embed(features).mean(dim=0))
        return self.head(self.fusion(image, self.genes(genes)))
