"""Convolution along the patches, as matrix products."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

BLOCK = 64
"""Patches per product; between 32 and 128 the time hardly differs."""


def convolve(
    x: Float[Tensor, "batch patch head dim"], weight: Float[Tensor, "head taps"]
) -> Float[Tensor, "batch patch head dim"]:
    """Convolution of each sequence with its head's weights, zeros beyond both ends.

    The same as `torch.nn.functional.conv2d` with one group per head, which must not be used on the
    CPU: for lengths 46, 61, 76, ... (1 in 15) oneDNN's gradient of the weights is wrong by up to
    16 % (torch 2.12, AVX-512, 33 taps). Products of banded matrices are also faster.

    Parameters
    ----------
    x
        Sequences.
    weight
        Odd number of taps for each head.

    Returns
    -------
    Sequences as long as `x`.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    >>> convolve(x, torch.tensor([[1.0, 0.0, 10.0]])).flatten().tolist()
    [20.0, 31.0, 2.0]
    """
    n_patches, reach = x.shape[1], weight.shape[1] - 1
    n_filled = max(1, ceil(n_patches / BLOCK)) * BLOCK - n_patches
    padded = functional.pad(x, (0, 0, 0, 0, reach // 2, reach // 2 + n_filled))
    windows: Tensor = _Windows.apply(padded, BLOCK + reach)  # type: ignore[no-untyped-call]
    out = einsum(windows, _banded(weight), "b block h d j, h i j -> b block i h d")
    return rearrange(out, "b block i h d -> b (block i) h d")[:, :n_patches]


class _Windows(torch.autograd.Function):
    """A window from the start of each block; the gradient of `unfold` would take twice as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.shape = x.shape
        return x.unfold(1, size, BLOCK)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        windows = rearrange(gradient, "b block h d j -> b block j h d")
        n_blocks, size = windows.shape[1:3]
        total = windows.new_zeros(len(windows), ceil(ctx.shape[1] / BLOCK) * BLOCK, *ctx.shape[2:])
        blocks = rearrange(total, "b (block j) h d -> b block j h d", j=BLOCK)
        for shift in range(ceil(size / BLOCK)):
            part = windows[:, :, shift * BLOCK : (shift + 1) * BLOCK]
            blocks[:, shift : shift + n_blocks, : part.shape[2]] += part
        return total[:, : ctx.shape[1]], None


def _banded(weight: Float[Tensor, "head taps"]) -> Float[Tensor, "head _ _"]:
    """Matrices whose row i holds the weights from column i on."""
    n_columns = BLOCK + weight.shape[1] - 1
    # The weights and BLOCK zeros are repeated, then cut into rows one shorter, so each row shifts
    # by one.
    rows = functional.pad(weight, (0, BLOCK)).repeat(1, BLOCK)[:, : BLOCK * n_columns]
    return rearrange(rows, "h (i j) -> h i j", i=BLOCK)
