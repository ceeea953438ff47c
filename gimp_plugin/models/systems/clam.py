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
    """Gated attention of one branch (SB) or of one a class (MB), and an instance loss.

    The most attended patches of a case are to be told from the least attended by a classifier of
    the case's class; to the classifiers of the other classes the most attended are no evidence
    either, for classes exclude each other (`subtyping` in the authors' code, which is meant for
    such problems). There are 8 of each; here at most half of the bag, so that no patch is both but
    in a bag of 1, where the authors' code fails. The loss of a patch is their smooth top-1 SVM of
    two classes at temperature 1, which is the cross-entropy with a margin of 1 added to the wrong
    class; it is averaged over the classifiers and weighs .3, the cross-entropy of the case .7. d is
    512 there, dropout .25.

    Parameters
    ----------
    config
        The model's configuration: `dim`, `embedding_dropout`.
    feature_dim
        Features of a patch.
    n_classes
        Number of classes.
    multi_branch
        Whether each class has an attention of its own.
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
        """Cross-entropy of the case, and what tells attended patches from others."""
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
        """Logits of the bag; with several branches each class reads its own."""
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
        """Loss of one class's classifier of patches."""
        n_each = min(N_PATCHES, max(1, len(patches) // 2))
        order = weights.argsort(descending=True, stable=True)
        most, least = (self.instance[name](patches[order[at]]) for at in _ends(n_each))
        own = torch.cat([_smooth_svm(most, ATTENDED), _smooth_svm(least, OTHER)])
        return torch.where(label == name, own.mean(), _smooth_svm(most, OTHER).mean())


clam_mb = partial(CLAM.from_config, multi_branch=True)


def _ends(n_each: int) -> tuple[slice, slice]:
    """The first few and the last few."""
    return slice(n_each), slice(-n_each, None)


def _smooth_svm(logits: Float[Tensor, "patch 2"], truth: int) -> Float[Tensor, " patch"]:
    """Smooth top-1 SVM of two classes (Berrada et al. 2018, arXiv 1802.07595)."""
    margins = MARGIN * (torch.arange(2, device=logits.device) != truth)
    targets = torch.full(logits.shape[:1], truth, device=logits.device)
    return functional.cross_entropy(logits + margins, targets, reduction="none")
