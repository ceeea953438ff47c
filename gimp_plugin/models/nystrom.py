"""Nyström attention of a bag, independent of its batch mates (paper, section 2.2, equation 2)."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from nystrom_attention import NystromAttention as PackageAttention
from torch import Tensor
from torch.nn import functional

from gimp_plugin.models.attend import attend
from gimp_plugin.models.convolution import convolve
from gimp_plugin.models.layout import BagLayout, places_apart
from gimp_plugin.models.pinv import apply_pinv
from gimp_plugin.models.repeats import Repeats
from gimp_plugin.models.rows import add_rows, take_rows

QUERIES, KEYS, VALUES = range(3)
"""Parts of the package's single projection."""


class NystromAttention(PackageAttention):  # type: ignore[misc]  # the package has no types
    """The package's attention with its own forward pass; parameters and state dict are the same.

    Equation 2 is evaluated from the right, as two exact attentions around a small pseudo-inverse,
    so that no matrix of tokens by landmarks is kept:

        s = softmax(q_l k') v,    u = pinv(softmax(q_l k_l')) s,    o = softmax(q k_l') u.

    Unlike in the package, the pseudo-inverse is scaled by each bag's own maximum, and padding has
    no effect. The first token is CLS. The residual convolution over neighbouring patches leaves
    CLS out unless `cls_convolution` is set, and never reaches from one slide into the next.

    Parameters
    ----------
    dim
        Hidden dimension d.
    segments
        `balanced`: landmarks are means of contiguous segments whose sizes differ by at most one;
        `front_pad`: zeros are put in front and attended to, then the segments are equal, as in the
        package.
    cls_convolution
        Whether CLS is convolved like a patch, as in the package.
    **package
        Arguments of `nystrom_attention.NystromAttention`.
    """

    def __init__(
        self, dim: int, *, segments: str = "balanced", cls_convolution: bool = False, **package: Any
    ) -> None:
        super().__init__(dim, **package)
        self.segments = segments
        self.cls_convolution = cls_convolution

    def forward(
        self,
        x: Float[Tensor, "batch patch dim"],
        layout: BagLayout | None = None,
        *,
        rows: Int[Tensor, "batch rows"] | None = None,
        repeats: Repeats | None = None,
    ) -> Float[Tensor, "batch _ dim"]:
        """Attend from the wanted tokens to all tokens of their bag.

        Parameters
        ----------
        x
            CLS and patches; the values of the padding do not matter.
        layout
            Where the tokens lie; by default all tokens exist and all patches are of one slide.
        rows
            Index of the wanted tokens, CLS first; all by default.
        repeats
            Which tokens are equal, if any: equal tokens are projected, and attend, only once.

        Returns
        -------
        Output of the wanted tokens.
        """
        if layout is None:
            layout = self.layout(x.new_ones(x.shape[:2], dtype=torch.bool))
        if layout.valid is not None:
            x = x.masked_fill(rearrange(~layout.valid, "b n -> b n 1"), 0.0)
        few, place = (x, None) if repeats is None else (take_rows(x, repeats.rows), repeats.place)
        k, v = self._keys_and_values(few, place)
        sums = add_rows(x, layout.landmark, layout.size.shape[1])
        q_landmarks, k_landmarks = self.landmarks(sums, layout)
        summary = self._summarise(q_landmarks, k, v, layout)
        summary = self.invert(q_landmarks, k_landmarks, summary, layout)
        out = self.read(few if rows is None else take_rows(x, rows), k_landmarks, summary, layout)
        if rows is None and place is not None:
            out = take_rows(out, place)

        only_cls = rows is not None and rows.shape[1] == 1 and not self.cls_convolution
        if self.residual and not only_cls:
            neighbours = self.convolve(rearrange(v, "b h n d -> b n (h d)"), layout)
            out = out + (neighbours if rows is None else take_rows(neighbours, rows))
        return self.to_out(out)

    def layout(
        self,
        valid: Bool[Tensor, "batch patch"],
        slide: Int[Tensor, "batch _"] | None = None,
    ) -> BagLayout:
        """Where the tokens of a batch lie, for this attention.

        Parameters
        ----------
        valid
            True for tokens that exist, CLS first; padding follows them.
        slide
            Slide of each patch (without CLS); by default all are of one slide.

        Returns
        -------
        The layout.
        """
        make = BagLayout.balanced if self.segments == "balanced" else BagLayout.front_padded
        place = None
        if slide is not None and self.residual:
            own = torch.cat([slide[:, :1], slide], dim=1) if self.cls_convolution else slide
            place = places_apart(own, gap=self.res_conv.padding[0])
        return make(valid, self.num_landmarks, place=place)

    def project(
        self, x: Float[Tensor, "batch patch dim"], part: int
    ) -> Float[Tensor, "batch head patch _"]:
        """Queries, keys or values of each head.

        Parameters
        ----------
        x
            Tokens after the norm.
        part
            `QUERIES`, `KEYS` or `VALUES`.

        Returns
        -------
        The queries, keys or values.
        """
        projected = functional.linear(x, self.to_qkv.weight.chunk(3)[part])
        return rearrange(projected, "b n (h d) -> b h n d", h=self.heads)

    def _keys_and_values(
        self, x: Float[Tensor, "batch patch dim"], place: Int[Tensor, "batch _"] | None
    ) -> tuple[Float[Tensor, "batch head _ _"], Float[Tensor, "batch head _ _"]]:
        """Keys and values by one product, of the tokens of `x` that are at `place`, or of all."""
        weight = self.to_qkv.weight[self.to_qkv.out_features // 3 :]
        projected = functional.linear(x, weight)
        if place is not None:
            projected = take_rows(projected, place)
        k, v = rearrange(projected, "b n (p h d) -> p b h n d", p=2, h=self.heads)
        return k, v

    def landmarks(
        self, sums: Float[Tensor, "batch landmark dim"], layout: BagLayout
    ) -> tuple[Float[Tensor, "batch head landmark _"], Float[Tensor, "batch head landmark _"]]:
        """Queries and keys of the landmarks.

        Parameters
        ----------
        sums
            Sums of the tokens of each landmark.
        layout
            Where the tokens lie.

        Returns
        -------
        q_l and k_l.
        """
        means = sums / layout.size[..., None]
        return self.project(means, QUERIES), self.project(means, KEYS)

    def _summarise(
        self,
        q_landmarks: Float[Tensor, "batch head landmark dim"],
        k: Float[Tensor, "batch head patch dim"],
        v: Float[Tensor, "batch head patch dim"],
        layout: BagLayout,
    ) -> Float[Tensor, "batch head landmark dim"]:
        """Attention from the landmarks to the tokens, s."""
        if layout.blanks is not None:
            k, v = (functional.pad(tokens, (0, 0, 1, 0)) for tokens in (k, v))
        return attend(q_landmarks, k, v, layout.key_mask(k.dtype))

    def invert(
        self,
        q_landmarks: Float[Tensor, "batch head landmark dim"],
        k_landmarks: Float[Tensor, "batch head landmark dim"],
        summary: Float[Tensor, "batch head landmark _"],
        layout: BagLayout,
    ) -> Float[Tensor, "batch head landmark _"]:
        """Pseudo-inverse of the attention among landmarks, times s, in full precision.

        Parameters
        ----------
        q_landmarks, k_landmarks
            Queries and keys of the landmarks.
        summary
            Attention from the landmarks to the tokens, s.
        layout
            Where the tokens lie.

        Returns
        -------
        u, in the type of s.
        """
        precise = torch.promote_types(summary.dtype, torch.float32)
        with torch.autocast(summary.device.type, enabled=False):
            logits = q_landmarks.to(precise) @ k_landmarks.to(precise).mT * self.scale
            if layout.live is not None:
                live = rearrange(layout.live, "b m -> b 1 1 m")
                attention = logits.masked_fill(~live, -torch.inf).softmax(dim=-1)
                attention = attention.masked_fill(~live.mT, 0.0)
            else:
                attention = logits.softmax(dim=-1)
            inverted = apply_pinv(attention, summary.to(precise), n_iterations=self.pinv_iterations)
        return inverted.to(summary.dtype)

    def read(
        self,
        x: Float[Tensor, "batch patch dim"],
        k_landmarks: Float[Tensor, "batch head landmark _"],
        inverted: Float[Tensor, "batch head landmark _"],
        layout: BagLayout,
    ) -> Float[Tensor, "batch patch _"]:
        """Attention from tokens to the landmarks, o, with the heads side by side.

        Parameters
        ----------
        x
            Tokens after the norm.
        k_landmarks
            Keys of the landmarks.
        inverted
            u.
        layout
            Where the tokens lie.

        Returns
        -------
        The output before the residual convolution and the output layer.
        """
        live = None if layout.live is None else rearrange(layout.live, "b m -> b 1 1 m")
        q = self.project(x, QUERIES)
        out = attend(q, k_landmarks, inverted, live)
        return rearrange(out, "b h n d -> b n (h d)")

    def convolve(
        self, v: Float[Tensor, "batch patch _"], layout: BagLayout, *, first: int = 0
    ) -> Float[Tensor, "batch patch _"]:
        """Residual convolution over the neighbours of each token, within its slide.

        Parameters
        ----------
        v
            Values of contiguous tokens, heads side by side; zeros are assumed around them.
        layout
            Where the tokens lie.
        first
            Index of the first of these tokens.

        Returns
        -------
        As many rows as `v`; 0 for CLS unless `cls_convolution`.
        """
        n_left = 0 if self.cls_convolution or first else 1
        values = v[:, n_left:]
        place = layout.place if values.shape[1] else None
        if place is not None:
            begin = first if self.cls_convolution else first + n_left - 1
            is_whole = values.shape[1] == place.shape[1]
            place = place[:, begin : begin + values.shape[1]]
            place = place - place[:, :1]
            n_places = layout.n_places if is_whole else int(place.max()) + 1
            values = add_rows(values, place, n_places)
        values = rearrange(values, "b n (h d) -> b n h d", h=self.heads)
        values = convolve(values, rearrange(self.res_conv.weight, "h 1 taps 1 -> h taps"))
        values = rearrange(values, "b n h d -> b n (h d)")
        if place is not None:
            values = take_rows(values, place)
        return functional.pad(values, (0, 0, n_left, 0))
