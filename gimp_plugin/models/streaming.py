"""A layer of Nyström attention, chunk by chunk, for bags whose activations would fill the memory.

A layer needs little from the whole bag: the sums of its landmarks' segments, and the attention from
the landmarks to the tokens. Both are gathered from the layer's input tokens, which are then
overwritten, chunk by chunk, by its output tokens. So the tokens of a bag are held only once.
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
"""Tokens at a time; at 512 dimensions the intermediate results fit into a processor's cache."""

Normed = Callable[[slice], Tensor]
"""Function that gives the tokens of some rows after the norm."""


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
    """Apply a pre-norm layer, with its residual path, to the first tokens of a bag, in place.

    Gives the same as `tokens + attention(norm(tokens), layout)` up to rounding, without a gradient.

    Parameters
    ----------
    norm, attention
        The layer.
    tokens
        CLS and patches of one bag; the wanted ones are overwritten.
    layout
        Where the tokens lie.
    n_wanted
        Number of wanted tokens, starting with CLS.
    chunk
        Tokens to compute at a time.
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
        Rows of each chunk; together they are all rows.
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
    # A running mean of the attention to each single chunk; the weight of a chunk is the sum of its
    # keys' exponentials. Blanks come first: each is a key of logit 0 with a value of 0.
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
    """Residual convolution of each chunk; earlier chunks may already be overwritten."""
    # Values are computed ahead of the chunk by the reach of the convolution. As many values before
    # it are kept, because the tokens that they were computed from are gone.
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
