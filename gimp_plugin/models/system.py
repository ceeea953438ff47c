"""The model of a system: a whole classifier in place of GiMP's parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gimp_plugin.config import ModelConfig
from gimp_plugin.errors import ConfigError, PluginError
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.patches import normalised


class SystemModel(GimpModel):
    """A model that trains and predicts with a system instead of GiMP's parts.

    CLS_img is replaced by all patches of a case, and CLS_ge by its genes; `classify` passes both
    to the system.

    Parameters
    ----------
    system
        The system.
    feature_norm
        Normalisation of the patch features, as for `PatchEmbedding`.
    """

    def __init__(self, system: nn.Module, *, feature_norm: str) -> None:
        super().__init__(
            gene_encoder=None,
            patches=None,
            aggregator=None,
            decoder=None,
            fusion=nn.Identity(),
            head=nn.Identity(),
        )
        self.system: Any = system
        self.feature_norm = feature_norm

    def encode_genes(self, genes: Float[Tensor, "batch gene"]) -> Float[Tensor, "batch gene"]:
        """Give the genes unchanged."""
        return genes

    @torch.no_grad()
    def stream_slides(
        self, features: Iterable[Float[Tensor, "_ feature"]], sizes: Sequence[int]
    ) -> Float[Tensor, "1 patch feature"]:
        """`stream_tokens`, from the features of the patches."""
        return self.stream_tokens(self.tokens(features), sizes)

    @torch.no_grad()
    def attend_slides(
        self, features: Iterable[Float[Tensor, "_ feature"]], sizes: Sequence[int]
    ) -> tuple[Float[Tensor, "1 patch feature"], Float[Tensor, "head patch"]]:
        """`attend_tokens`, from the features of the patches."""
        return self.attend_tokens(self.tokens(features), sizes)

    def tokens(
        self, features: Iterable[Float[Tensor, "_ feature"]]
    ) -> Iterator[Float[Tensor, "_ feature"]]:
        """Patch features as the system sees them, some at a time."""
        return map(self.seen, features)

    @torch.no_grad()
    def stream_tokens(
        self,
        tokens: Iterable[Float[Tensor, "_ feature"]],
        sizes: Sequence[int],  # noqa: ARG002  # all slides are one bag
    ) -> Float[Tensor, "1 patch feature"]:
        """Gather the patches of a case, so that all their features are held at once."""
        return rearrange(torch.cat(list(tokens)), "n f -> 1 n f")

    def aggregate(
        self,
        tokens: Float[Tensor, "1 patch feature"],
        sizes: Sequence[int],  # noqa: ARG002  # as above
    ) -> Float[Tensor, "1 patch feature"]:
        """Give the patches unchanged."""
        return tokens

    @property
    def attends(self) -> bool:
        """Whether the system can give its attention to each patch."""
        return hasattr(self.system, "attend")

    @torch.no_grad()
    def attend_tokens(
        self, tokens: Iterable[Float[Tensor, "_ feature"]], sizes: Sequence[int]
    ) -> tuple[Float[Tensor, "1 patch feature"], Float[Tensor, "head patch"]]:
        """`stream_tokens`, and the attention of the system to each patch.

        Parameters
        ----------
        tokens, sizes
            As for `stream_tokens`.

        Returns
        -------
        The patches, and the attention of each head to each of them.

        Raises
        ------
        PluginError
            If the system has no `attend` beside its `forward`.
        """
        if not self.attends:
            raise PluginError(f"the system {type(self.system).__name__} gives no attention")
        patches = self.stream_tokens(tokens, sizes)
        return patches, self.system.attend(patches[0])

    def classify(
        self,
        cls_img: Float[Tensor, "1 patch feature"] | None,
        cls_ge: Float[Tensor, "1 gene"] | None,
        has_slides: Bool[Tensor, " 1"],  # noqa: ARG002  # a system needs all its halves anyway
        has_genes: Bool[Tensor, " 1"],  # noqa: ARG002  # as above
    ) -> Float[Tensor, "1 class"]:
        """Logits of one case.

        Parameters
        ----------
        cls_img, cls_ge
            Results of `stream_slides` and `encode_genes`; None for a half that the model lacks.
        has_slides, has_genes
            Ignored.

        Returns
        -------
        Logits before the softmax.
        """
        features, genes = (None if half is None else half[0] for half in (cls_img, cls_ge))
        return rearrange(self.system(features, genes), "c -> 1 c")

    def seen(self, features: Float[Tensor, "patch feature"]) -> Float[Tensor, "patch feature"]:
        """Patch features as the system sees them."""
        dtype = next(self.system.parameters()).dtype
        return normalised(features.to(dtype), self.feature_norm)


def loss_of(
    system: Any,
    features: Float[Tensor, "patch feature"] | None,
    genes: Float[Tensor, " gene"] | None,
    label: Int[Tensor, ""],
) -> Float[Tensor, ""]:
    """Loss of a system on one case.

    Parameters
    ----------
    system
        The system.
    features, genes
        The halves of the case.
    label
        Its class.

    Returns
    -------
    The system's own `loss`, or the cross-entropy of its logits if it has none.
    """
    if hasattr(system, "loss"):
        return system.loss(features, genes, label)
    return functional.cross_entropy(system(features, genes), label)


def require_modalities(config: ModelConfig, wanted: str) -> None:
    """Refuse a model whose halves are not those that its system reads.

    Parameters
    ----------
    config
        The model's configuration.
    wanted
        Halves that the system reads.

    Raises
    ------
    ConfigError
        If the model has other halves.
    """
    if config.modalities != wanted:
        problem = f"the system {config.system!r} reads {wanted}, not {config.modalities}"
        raise ConfigError(problem, hint=f"give --modalities {wanted}")
