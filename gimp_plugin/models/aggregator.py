"""Patch aggregator: patches of a case in, CLS_img and the wanted patches out (section 2.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gimp_plugin.config import ModelConfig
from gimp_plugin.models.cls_attention import cls_attention
from gimp_plugin.models.layout import BagLayout, slides_of
from gimp_plugin.models.nystrom import NystromAttention
from gimp_plugin.models.places import Picked, picked
from gimp_plugin.models.repeats import Repeats
from gimp_plugin.models.rows import take_rows
from gimp_plugin.models.streaming import CHUNK, stream_layer


@dataclass(frozen=True, slots=True)
class NystromPlan:
    """Where the tokens of a batch lie, and which of them are wanted.

    Parameters
    ----------
    layout
        Layout of CLS and patches, for every layer.
    rows
        Index of CLS and the wanted patches of each case, filled up with CLS.
    real
        Which entries of `rows` (without the first) are wanted patches, not filling.
    repeats
        Which tokens are equal before the first layer, if any.
    """

    layout: BagLayout
    rows: Int[Tensor, "batch _"]
    real: Picked
    repeats: Repeats | None = None


class NystromLayer(nn.Module):
    """Pre-norm Nyström attention with a residual path, without a feed-forward part.

    Parameters
    ----------
    dim
        Hidden dimension d.
    attention
        The attention.
    """

    def __init__(self, dim: int, attention: NystromAttention) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = attention

    def forward(
        self,
        x: Float[Tensor, "batch patch dim"],
        layout: BagLayout,
        rows: Int[Tensor, "batch rows"] | None = None,
        repeats: Repeats | None = None,
    ) -> Float[Tensor, "batch _ dim"]:
        """Give the wanted tokens after the layer; all tokens by default."""
        wanted = x if rows is None else take_rows(x, rows)
        return wanted + self.attention(self.norm(x), layout, rows=rows, repeats=repeats)


class NystromAggregator(nn.Module):
    """Aggregator `nystrom`: CLS_img and patches after layers of Nyström attention.

    Parameters
    ----------
    config
        The model's configuration.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.cls_token = nn.Parameter(torch.empty(config.dim).normal_(std=0.02))
        self.layers: Any = nn.ModuleList(
            NystromLayer(config.dim, _attention(config)) for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.checkpointed = False  # True: activations are computed again instead of kept

    @classmethod
    def from_config(cls, config: ModelConfig) -> NystromAggregator:
        """Make the aggregator that a configuration describes."""
        return cls(config)

    def forward(
        self,
        tokens: Float[Tensor, "batch patch dim"],
        valid: Bool[Tensor, "batch patch"],
        *,
        slide: Int[Tensor, "batch patch"] | None = None,
        rows: Bool[Tensor, "batch patch"] | None = None,
        plan: NystromPlan | None = None,
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "rows dim"]]:
        """Aggregate the patches of each case.

        Parameters
        ----------
        tokens
            Embedded patches; a case may have none.
        valid
            True for patches that exist; padding follows them.
        slide
            Slide of each patch, slide after slide; by default all are of one slide.
        rows
            Patches that are wanted besides CLS_img; none by default. The last layer computes only
            these and CLS_img.
        plan
            Result of `plan` for these masks, if computed in advance.

        Returns
        -------
        CLS_img, and the wanted patches, case after case.
        """
        plan = plan or self.plan(valid, slide=slide, rows=rows)
        x = torch.cat([self.cls_token.expand(len(tokens), 1, -1), tokens], dim=1)
        again = self.checkpointed and self.training
        for number, layer in enumerate(self.layers, start=1):
            rows = plan.rows if number == len(self.layers) else None
            run = partial(checkpoint, layer, use_reentrant=False) if again else layer
            x = run(x, plan.layout, rows, plan.repeats if number == 1 else None)
        x = self.norm(x)
        return x[:, 0], x[:, 1:][plan.real]

    def plan(
        self,
        valid: Bool[Tensor, "batch patch"],
        *,
        slide: Int[Tensor, "batch patch"] | None = None,
        rows: Bool[Tensor, "batch patch"] | None = None,
        masked: Bool[Tensor, "batch patch"] | None = None,
    ) -> NystromPlan:
        """Work out what `forward` needs from the masks; all `masked` patches are the same token."""
        tokens, repeats = _with_cls(valid), None
        if masked is not None:
            repeats = Repeats.of(tokens, functional.pad(masked, (1, 0)))
        layout = self.layers[0].attention.layout(tokens, slide)
        index, real = _wanted(torch.zeros_like(valid) if rows is None else rows)
        return NystromPlan(layout, index, picked(real), repeats)

    @torch.no_grad()
    def stream(
        self,
        tokens: Iterable[Float[Tensor, "_ dim"]],
        sizes: Sequence[int],
        *,
        chunk: int = CHUNK,
    ) -> Float[Tensor, "1 dim"]:
        """Aggregate the patches of one case, in little more memory than its tokens take.

        Parameters
        ----------
        tokens
            Embedded patches, some at a time, slide after slide.
        sizes
            Number of patches of each slide.
        chunk
            Tokens to compute at a time.

        Returns
        -------
        CLS_img as from `forward` in evaluation, up to rounding and without a gradient.

        Raises
        ------
        ValueError
            If there are more or fewer patches than `sizes` says.
        """
        x, layout = self._before_last(tokens, sizes, chunk)
        last = self.layers[-1]
        stream_layer(last.norm, last.attention, x, layout=layout, n_wanted=1, chunk=chunk)
        return self.norm(x[:, 0])

    @torch.no_grad()
    def attend(
        self,
        tokens: Iterable[Float[Tensor, "_ dim"]],
        sizes: Sequence[int],
        *,
        chunk: int = CHUNK,
    ) -> tuple[Float[Tensor, "1 dim"], Float[Tensor, "head _"]]:
        """`stream`, and the attention of CLS to each patch in the last layer.

        Parameters
        ----------
        tokens, sizes, chunk
            As for `stream`.

        Returns
        -------
        CLS_img, and the attention of each head to each patch, which may be negative. The attention
        of CLS to itself is left out, and so is the residual convolution where it covers CLS.
        """
        x, layout = self._before_last(tokens, sizes, chunk)
        last = self.layers[-1]
        attention = cls_attention(last.norm, last.attention, x, layout=layout, chunk=chunk)
        stream_layer(last.norm, last.attention, x, layout=layout, n_wanted=1, chunk=chunk)
        return self.norm(x[:, 0]), attention[:, 1:]

    def _before_last(
        self, tokens: Iterable[Float[Tensor, "_ dim"]], sizes: Sequence[int], chunk: int
    ) -> tuple[Float[Tensor, "1 _ dim"], BagLayout]:
        """CLS and patches of one case before the last layer, and where they lie."""
        x = self._filled(tokens, sum(sizes))
        valid = x.new_ones(x.shape[:2], dtype=torch.bool)
        slide = slides_of(sizes, device=x.device)
        layout = self.layers[0].attention.layout(valid, slide)
        for layer in self.layers[:-1]:
            stream_layer(
                layer.norm, layer.attention, x, layout=layout, n_wanted=x.shape[1], chunk=chunk
            )
        return x, layout

    def _filled(
        self, tokens: Iterable[Float[Tensor, "_ dim"]], n_patches: int
    ) -> Float[Tensor, "1 patch dim"]:
        """CLS and patches in one tensor."""
        x = self.cls_token.new_empty(1, 1 + n_patches, self.dim)
        x[0, 0] = self.cls_token
        n_filled = 0
        for some in tokens:
            n_filled += len(some)
            if n_filled <= n_patches:
                x[0, 1 + n_filled - len(some) : 1 + n_filled] = some
        if n_filled != n_patches:
            raise ValueError(f"the tokens are of {n_filled} patches, expected {n_patches}")
        return x


def _attention(config: ModelConfig) -> NystromAttention:
    """Attention of one layer."""
    return NystromAttention(
        config.dim,
        dim_head=config.dim // config.n_heads,
        heads=config.n_heads,
        num_landmarks=config.n_landmarks,
        pinv_iterations=config.pinv_iterations,
        residual=config.convolution_taps > 0,
        residual_conv_kernel=config.convolution_taps,
        dropout=config.attention_dropout,
        segments=config.segments,
        cls_convolution=config.cls_convolution,
    )


def _with_cls(valid: Bool[Tensor, "batch patch"]) -> Bool[Tensor, "batch 1+patch"]:
    """Put CLS, which always exists, in front."""
    return torch.cat([valid.new_ones(len(valid), 1), valid], dim=1)


def _wanted(
    rows: Bool[Tensor, "batch patch"],
) -> tuple[Int[Tensor, "batch _"], Bool[Tensor, "batch rows"]]:
    """Index of CLS and the wanted patches, filled up with CLS; which patches are not filling."""
    n_rows = rows.sum(dim=1, keepdim=True)
    order = rows.byte().argsort(dim=1, descending=True, stable=True)[:, : int(n_rows.max())]
    real = torch.arange(order.shape[1], device=rows.device) < n_rows
    return torch.cat([torch.zeros_like(n_rows), (order + 1) * real], dim=1), real
