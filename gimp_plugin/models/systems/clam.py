"""CLAM: attention pooling that also clusters patches (Lu et al. 2021, arXiv 2004.09666)."""

from __future__ import annotations

from functools import partial

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin import keys
from gimp_plugin.config import ModelConfig
from gimp_plugin.models.abmil import GatedScores
from gimp_plugin.models.system import require_modalities

N_PATCHES, BAG_WEIGHT, MARGIN = 8, 0.7, 1.0
ATTENDED, OTHER = 1, 0


class CLAM(nn.Module):
    """Gated attention with one branch (SB) or one branch per class (MB), and an instance loss.

    The instance classifier of the case's class learns to distinguish the most attended patches of
    the case from the least attended. Classes exclude each other, so the classifiers of the other
    classes learn that the most attended patches are no evidence for these (`subtyping` in the
    authors' code). There are 8 patches of each kind, but here at most half of the bag, so that no
    patch is in both; a bag of 1 patch, where the authors' code fails, is the exception. The loss of
    a patch is the authors' smooth top-1 SVM of two classes at temperature 1: the cross-entropy with
    a margin of 1 added to the wrong class. Its mean over the classifiers has weight .3, the
    cross-entropy of the case .7. In the paper, d is 512 and dropout .25.

    Parameters
    ----------
    config
        The model's configuration: `dim`, `embedding_dropout`.
    feature_dim
        Features of a patch.
    n_classes
        Number of classes.
    multi_branch
        Whether each class has its own attention.
    """

    def __init__(
        self, config: ModelConfig, *, feature_dim: int, n_classes: int, multi_branch: bool
    ) -> None:
        super().__init__()
        dropout = config.embedding_dropout
        self.multi_branch = multi_branch
        self.embed = nn.Sequential(
            nn.Linear(feature_dim, config.dim), nn.ReLU(), nn.Dropout(dropout)
        )
        n_branches = n_classes if multi_branch else 1
        self.attention = GatedScores(config.dim, n_heads=n_branches, dropout=dropout)
        self.head = nn.Linear(config.dim, n_classes)
        self.instance = nn.ModuleList(nn.Linear(config.dim, 2) for _ in range(n_classes))

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        feature_dim: int,
        n_genes: int,
        n_classes: int,
        multi_branch: bool = False,
    ) -> CLAM:
        """Make the system that a configuration describes."""
        del n_genes
        require_modalities(config, keys.SLIDES)
        return cls(config, feature_dim=feature_dim, n_classes=n_classes, multi_branch=multi_branch)

    def forward(
        self, features: Float[Tensor, "patch feature"], genes: Float[Tensor, " gene"] | None
    ) -> Float[Tensor, " class"]:
        """Give the logits of a case; the genes are None."""
        del genes
        return self._logits(*self._weighed(features))

    def loss(
        self,
        features: Float[Tensor, "patch feature"],
        genes: Float[Tensor, " gene"] | None,
        label: Int[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """Weighted sum of the cross-entropy of the case and the instance loss."""
        del genes
        patches, weights = self._weighed(features)
        bag = functional.cross_entropy(self._logits(patches, weights), label)
        instances = [
            self._instance_loss(patches, weights[name if self.multi_branch else 0], name, label)
            for name in range(len(self.instance))
        ]
        return BAG_WEIGHT * bag + (1 - BAG_WEIGHT) * torch.stack(instances).mean()

    @torch.no_grad()
    def attend(self, features: Float[Tensor, "patch feature"]) -> Float[Tensor, "head patch"]:
        """Attention of each branch."""
        return self._weighed(features)[1]

    def _weighed(
        self, features: Float[Tensor, "patch feature"]
    ) -> tuple[Float[Tensor, "patch dim"], Float[Tensor, "head patch"]]:
        """Embedded patches, and the attention of each branch to them."""
        patches = self.embed(features)
        return patches, self.attention.scores(patches).softmax(dim=0).T

    def _logits(
        self, patches: Float[Tensor, "patch dim"], weights: Float[Tensor, "head patch"]
    ) -> Float[Tensor, " class"]:
        """Logits of the bag; with several branches, each class reads its own branch."""
        pooled = einsum(weights, patches, "h n, n d -> h d")
        if not self.multi_branch:
            return self.head(pooled[0])
        return (pooled * self.head.weight).sum(dim=1) + self.head.bias

    def _instance_loss(
        self,
        patches: Float[Tensor, "patch dim"],
        weights: Float[Tensor, " patch"],
        name: int,
        label: Int[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """Loss of the instance classifier of one class."""
        n_each = min(N_PATCHES, max(1, len(patches) // 2))
        order = weights.argsort(descending=True, stable=True)
        most, least = (self.instance[name](patches[order[at]]) for at in _ends(n_each))
        own = torch.cat([_smooth_svm(most, ATTENDED), _smooth_svm(least, OTHER)])
        return torch.where(label == name, own.mean(), _smooth_svm(most, OTHER).mean())


clam_mb = partial(CLAM.from_config, multi_branch=True)


def _ends(n_each: int) -> tuple[slice, slice]:
    """Slices of the first few and of the last few."""
    return slice(n_each), slice(-n_each, None)


def _smooth_svm(logits: Float[Tensor, "patch 2"], truth: int) -> Float[Tensor, " patch"]:
    """Smooth top-1 SVM of two classes (Berrada et al. 2018, arXiv 1802.07595)."""
    margins = MARGIN * (torch.arange(2, device=logits.device) != truth)
    targets = torch.full(logits.shape[:1], truth, device=logits.device)
    return functional.cross_entropy(logits + margins, targets, reduction="none")
