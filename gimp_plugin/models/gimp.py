"""The whole model: one module with one state dict, in every stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gimp_plugin.errors import PluginError
from gimp_plugin.models.fusion import Concat
from gimp_plugin.models.heads import LinearHead
from gimp_plugin.models.layout import slides_of
from gimp_plugin.models.places import Places, SlideEncoding, picked
from gimp_plugin.models.streaming import CHUNK


class GimpModel(nn.Module):
    """GiMP's parts; those that a model or a stage does not need are None.

    Parameters
    ----------
    gene_encoder
        Genes to CLS_ge.
    patches
        Patch features to tokens.
    aggregator
        Tokens to CLS_img.
    decoder
        Tokens to patch features, for pre-training.
    fusion
        Both halves to one embedding.
    head
        That embedding to logits.
    gene_classifier
        CLS_ge to logits, for gene pre-training.
    """

    def __init__(
        self,
        *,
        gene_encoder: nn.Module | None,
        patches: nn.Module | None,
        aggregator: nn.Module | None,
        decoder: nn.Module | None,
        fusion: nn.Module,
        head: nn.Module,
        gene_classifier: nn.Module | None = None,
    ) -> None:
        super().__init__()
        # Any: a component may come from a plugin, and a stage calls only components that it set.
        self.gene_encoder: Any = gene_encoder
        self.patches: Any = patches
        self.aggregator: Any = aggregator
        self.decoder: Any = decoder
        self.fusion: Any = fusion
        self.head: Any = head
        self.gene_classifier: Any = gene_classifier

    @property
    def dim(self) -> int:
        """Hidden dimension d."""
        encoder = self.gene_encoder if self.aggregator is None else self.aggregator
        return int(encoder.dim)

    def encode_genes(self, genes: Float[Tensor, "batch gene"]) -> Float[Tensor, "batch dim"]:
        """CLS_ge of standardised expression."""
        return self.gene_encoder(genes)

    def encode_gene_tokens(
        self, genes: Float[Tensor, "batch gene"]
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch group dim"] | None]:
        """CLS_ge, and the tokens that it was computed from; None if the encoder gives no tokens."""
        if _offers(self.gene_encoder, "encode_tokens"):
            return self.gene_encoder.encode_tokens(genes)
        return self.encode_genes(genes), None

    def encode_slides(
        self,
        features: Float[Tensor, "batch patch feature"],
        valid: Bool[Tensor, "batch patch"],
        *,
        slide: Int[Tensor, "batch patch"] | None = None,
        masked: Bool[Tensor, "batch patch"] | None = None,
        counted: Bool[Tensor, "batch patch"] | None = None,
    ) -> SlideEncoding:
        """CLS_img of the bags of each case, and their masked patches reconstructed.

        Parameters
        ----------
        features
            Patch features in any floating type.
        valid
            True for patches that exist; padding follows them.
        slide
            Slide of each patch, slide after slide; by default all are of one slide.
        masked
            True for patches that are hidden from the aggregator; none by default.
        counted
            True for hidden patches to reconstruct; all by default. Count one copy in a tiled bag.

        Returns
        -------
        The encoding.
        """
        return self.encode_at(
            features, self.places(valid, slide=slide, masked=masked, counted=counted)
        )

    def places(
        self,
        valid: Bool[Tensor, "batch patch"],
        *,
        slide: Int[Tensor, "batch patch"] | None = None,
        masked: Bool[Tensor, "batch patch"] | None = None,
        counted: Bool[Tensor, "batch patch"] | None = None,
    ) -> Places:
        """Work out in advance, on the device of the masks, which patches of a batch go where.

        Parameters
        ----------
        valid, slide, masked, counted
            As for `encode_slides`.

        Returns
        -------
        The places for `encode_at`, to be moved to the device of the features first.
        """
        rows = masked if counted is None else counted
        plan = None
        if _offers(self.aggregator, "plan"):
            plan = self.aggregator.plan(valid, slide=slide, rows=rows, masked=masked)
        return Places(
            valid=valid,
            slide=slide,
            rows=rows,
            visible=None if masked is None else picked(valid & ~masked),
            wanted=None if rows is None else picked(rows),
            plan=plan,
        )

    def encode_at(
        self, features: Float[Tensor, "batch patch feature"], places: Places
    ) -> SlideEncoding:
        """`encode_slides`, with the places already worked out."""
        cls_img, patches = self.aggregate_at(features, places)
        if places.wanted is None:
            nothing = cls_img.new_zeros(0, features.shape[-1])
            return SlideEncoding(cls_img, nothing, nothing)
        target = self.patches.normalise(features[places.wanted])
        return SlideEncoding(cls_img, self.decoder(patches), target)

    def aggregate_at(
        self, features: Float[Tensor, "batch patch feature"], places: Places
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "rows dim"]]:
        """CLS_img and the tokens of the wanted patches, with the places already worked out."""
        tokens = self.patches(features, places.visible)
        given: dict[str, Any] = {"slide": places.slide, "rows": places.rows}
        if places.plan is not None:
            given["plan"] = places.plan
        cls_img, patches = self.aggregator(tokens, places.valid, **given)
        places.check_wanted(patches, self.aggregator)
        return cls_img, patches

    @torch.no_grad()
    def stream_slides(
        self, features: Iterable[Float[Tensor, "_ feature"]], sizes: Sequence[int]
    ) -> Float[Tensor, "1 dim"]:
        """CLS_img of one case, whose patch features are never held all at once.

        An aggregator whose class defines `stream` beside `forward` gets the tokens as they come;
        others get them all together.

        Parameters
        ----------
        features
            Patch features in any floating type, some at a time, slide after slide.
        sizes
            Number of patches of each slide.

        Returns
        -------
        CLS_img as from `encode_slides` in evaluation, up to rounding and without a gradient.
        """
        return self.stream_tokens(self.tokens(features), sizes)

    @torch.no_grad()
    def stream_tokens(
        self, tokens: Iterable[Float[Tensor, "_ dim"]], sizes: Sequence[int]
    ) -> Float[Tensor, "1 dim"]:
        """`stream_slides`, from the tokens of the patches."""
        if _offers(self.aggregator, "stream"):
            return self.aggregator.stream(tokens, sizes)
        return self.aggregate(rearrange(torch.cat(list(tokens)), "n d -> 1 n d"), sizes)

    def aggregate(
        self, tokens: Float[Tensor, "1 patch dim"], sizes: Sequence[int]
    ) -> Float[Tensor, "1 dim"]:
        """CLS_img of one case from the tokens of its patches, with a gradient.

        Parameters
        ----------
        tokens
            Tokens of all patches, slide after slide.
        sizes
            Number of patches of each slide.

        Returns
        -------
        CLS_img.
        """
        valid = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        slide = slides_of(sizes, device=tokens.device)
        return self.aggregator(tokens, valid, slide=slide, rows=None)[0]

    @torch.no_grad()
    def attend_slides(
        self, features: Iterable[Float[Tensor, "_ feature"]], sizes: Sequence[int]
    ) -> tuple[Float[Tensor, "1 dim"], Float[Tensor, "head _"]]:
        """`stream_slides`, and the attention of CLS_img to each patch.

        Parameters
        ----------
        features, sizes
            As for `stream_slides`.

        Returns
        -------
        CLS_img, and the attention of each head to each patch of all slides together, which may be
        negative.

        Raises
        ------
        PluginError
            If the aggregator has no `attend` beside its `forward`.
        """
        return self.attend_tokens(self.tokens(features), sizes)

    @property
    def attends(self) -> bool:
        """Whether the aggregator can give the attention of CLS_img to each patch."""
        return self.aggregator is not None and _offers(self.aggregator, "attend")

    @torch.no_grad()
    def attend_tokens(
        self, tokens: Iterable[Float[Tensor, "_ dim"]], sizes: Sequence[int]
    ) -> tuple[Float[Tensor, "1 dim"], Float[Tensor, "head _"]]:
        """`attend_slides`, from the tokens of the patches."""
        if not self.attends:
            problem = f"the aggregator {type(self.aggregator).__name__} gives no attention"
            raise PluginError(problem, hint="'nystrom' and 'abmil' do")
        return self.aggregator.attend(tokens, sizes)

    def classify(
        self,
        cls_img: Float[Tensor, "batch dim"] | None,
        cls_ge: Float[Tensor, "batch dim"] | None,
        has_slides: Bool[Tensor, " batch"],
        has_genes: Bool[Tensor, " batch"],
    ) -> Float[Tensor, "batch class"]:
        """Logits of each case, from the halves that it has.

        Parameters
        ----------
        cls_img, cls_ge
            The halves; None for a half that no case of the batch has.
        has_slides, has_genes
            Which cases have which half.

        Returns
        -------
        Logits before the softmax.
        """
        return self.head(self.fusion(cls_img, cls_ge, has_slides, has_genes))

    def start_head_from_gene_classifier(self) -> None:
        """Copy the gene classifier into the gene part of a linear head; other heads stay as is.

        So does a linear head behind another fusion than `Concat`, which has no such part.
        """
        has_gene_part = isinstance(self.fusion, Concat) and isinstance(self.head, LinearHead)
        if has_gene_part and self.gene_classifier is not None:
            self.head.start_from(self.gene_classifier)

    def tokens(
        self, features: Iterable[Float[Tensor, "_ feature"]]
    ) -> Iterator[Float[Tensor, "_ dim"]]:
        """Tokens of patches, some at a time."""
        parts = (part for some in features for part in torch.split(some, CHUNK))
        return (self.patches(rearrange(part, "n f -> 1 n f"))[0] for part in parts)


def _offers(part: nn.Module, name: str) -> bool:
    """Whether the class that defines a part's `forward` also defines this method."""
    own = next(vars(kind) for kind in type(part).__mro__ if "forward" in vars(kind))
    return name in own
