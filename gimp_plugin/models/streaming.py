"""A layer of Nyström attention, chunk by chunk, for bags whose activations would fill the memory.

What a layer needs of the whole bag is small: the sums of its landmarks' segments, and the attention
from the landmarks to the tokens. Both are gathered from the tokens before the layer; then these are
overwritten, chunk by chunk, by those after it. So a bag takes the room of its tokens, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin.models.layout import BagLayout
from gimp_plugin.models.nystrom import KEYS, VALUES, NystromAttention
from gimp_plugin.models.rows import add_rows

CHUNK = 2048
"""Tokens at a time: what is computed of them at 512 dimensions stays in a processor's cache."""

Normed = Callable[[slice], Tensor]
"""Tokens of some rows after the norm."""


@torch.no_grad()
def stream_layer(
    norm: nn.Module,
    attention: NystromAttention,
    tokens: Float[Tensor, "1 patch dim"],
    *,
    layout: BagLayout,
    n_wanted: int,
    chunk: int = CHUNK,
) -> None:
    """Add to the first tokens of a bag what a pre-norm layer adds to them, in place.

    The same as `tokens + attention(norm(tokens), layout)` but for rounding; there is no gradient.

    Parameters
    ----------
    norm, attention
        The layer.
    tokens
        CLS and patches of one bag; the wanted ones are overwritten.
    layout
        Where the tokens lie.
    n_wanted
        Tokens that are wanted, from CLS on.
    chunk
        Tokens at a time.
    """
    normed = partial(_normed, norm, tokens)
    n_tokens = tokens.shape[1]
    every, wanted = _chunks(n_tokens, chunk), _chunks(n_wanted, chunk)
    q_landmarks, k_landmarks = attention.landmarks(landmark_sums(normed, every, layout), layout)
    summary = _summarise(attention, q_landmarks, map(normed, every), layout)
    inverted = attention.invert(q_landmarks, k_landmarks, summary, layout)
    nearby: Iterable[Tensor | float] = repeat(0.0)
    if attention.residual:
        nearby = _convolved(attention, normed, wanted, layout, n_tokens)
    for rows, near in zip(wanted, nearby, strict=False):
        out = attention.read(normed(rows), k_landmarks, inverted, layout)
        tokens[:, rows].add_(attention.to_out(out + near))


def _normed(
    norm: nn.Module, tokens: Float[Tensor, "1 patch dim"], rows: slice
) -> Float[Tensor, "1 _ dim"]:
    """Tokens of some rows after the norm."""
    return norm(tokens[:, rows])


def _chunks(n_tokens: int, chunk: int) -> list[slice]:
    """Rows of each chunk."""
    return [slice(start, min(start + chunk, n_tokens)) for start in range(0, n_tokens, chunk)]


def landmark_sums(
    normed: Normed, chunks: Sequence[slice], layout: BagLayout
) -> Float[Tensor, "1 landmark dim"]:
    """Sums of the tokens of each landmark.

    Parameters
    ----------
    normed
        Gives the tokens of some rows.
    chunks
        Rows at a time, together all.
    layout
        Where the tokens lie.

    Returns
    -------
    The sums.
    """
    n_landmarks = layout.size.shape[1]
    first, *others = chunks
    sums = add_rows(normed(first), layout.landmark[:, first], n_landmarks)
    for rows in others:
        sums += add_rows(normed(rows), layout.landmark[:, rows], n_landmarks)
    return sums


def _summarise(
    attention: NystromAttention,
    q_landmarks: Float[Tensor, "1 head landmark _"],
    chunks: Iterable[Float[Tensor, "1 patch dim"]],
    layout: BagLayout,
) -> Float[Tensor, "1 head landmark _"]:
    """Attention from the landmarks to the tokens, s."""
    # A running mean of the attention to each chunk alone; a chunk weighs by the sum of its keys'
    # exponentials. Blanks come before all: so many keys of logit 0, with values of 0.
    precise = torch.promote_types(q_landmarks.dtype, torch.float32)
    summary = torch.zeros_like(q_landmarks, dtype=precise)
    n_before = summary.new_zeros(1) if layout.blanks is None else layout.blanks.to(precise)
    log_total = n_before.log()
    q = q_landmarks * attention.scale
    for x in chunks:
        logits = (q @ attention.project(x, KEYS).mT).to(precise)
        weights = logits.softmax(dim=-1)
        top, share = (of_keys.amax(dim=-1, keepdim=True) for of_keys in (logits, weights))
        log_sum = top - share.log()
        v = attention.project(x, VALUES)
        mean = (weights.to(v.dtype) @ v).to(precise)
        summary = summary.lerp(mean, (log_sum - log_total).sigmoid())
        log_total = torch.logaddexp(log_total, log_sum)
    return summary.to(q_landmarks.dtype)


def _convolved(
    attention: NystromAttention,
    normed: Normed,
    chunks: Sequence[slice],
    layout: BagLayout,
    n_tokens: int,
) -> Iterator[Float[Tensor, "1 patch _"]]:
    """Residual convolution of each chunk; the chunks before it may be overwritten by then."""
    # Values run ahead of the chunk by the reach of the convolution, and as many of those behind it
    # are kept, for what they were made of is gone.
    reach = attention.res_conv.padding[0]
    first = ahead = 0
    v = _values(attention, normed(slice(0)))
    for rows in chunks:
        ready, ahead = ahead, min(rows.stop + reach, n_tokens)
        v = torch.cat([v, _values(attention, normed(slice(ready, ahead)))], dim=1)
        yield attention.convolve(v, layout, first=first)[:, rows.start - first : rows.stop - first]
        kept = max(rows.stop - reach, 0)
        v, first = v[:, kept - first :], kept


def _values(
    attention: NystromAttention, x: Float[Tensor, "1 patch dim"]
) -> Float[Tensor, "1 patch _"]:
    """Values of tokens, heads side by side."""
    return rearrange(attention.project(x, VALUES), "b h n d -> b n (h d)")
