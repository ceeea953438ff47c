"""Scaled dot-product attention, in the fastest form for the device and precision."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attend(
    q: Float[Tensor, "batch head _ dim"],
    k: Float[Tensor, "batch head patch dim"],
    v: Float[Tensor, "batch head patch dim"],
    mask: Bool[Tensor, "batch 1 1 patch"] | Float[Tensor, "batch 1 1 patch"] | None,
) -> Float[Tensor, "batch head _ dim"]:
    """Attention of queries to keys.

    torch's kernel never forms the matrix of queries by keys. In bf16 on a CPU, its products take
    twice as long as plain ones, so there the matrix is formed and kept for the backward pass.

    Parameters
    ----------
    q, k, v
        Queries, keys and values of each head.
    mask
        True for keys to attend to, or values to add to the logits; None for all keys.

    Returns
    -------
    Weighted means of the values, in the type of the values.
    """
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # or products copy them transposed
    with torch.autocast("cpu", enabled=False):
        logits = (q * q.shape[-1] ** -0.5) @ k.mT
        if mask is not None and mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            logits = logits + mask
        return logits.softmax(dim=-1) @ v
