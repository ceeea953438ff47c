"""Attention of CLS to each patch in a layer of Nyström attention, computed chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gimp_plugin.models.layout import BagLayout
from gimp_plugin.models.nystrom import KEYS, QUERIES, NystromAttention
from gimp_plugin.models.streaming import CHUNK, landmark_sums


@torch.no_grad()
def cls_attention(
    norm: nn.Module,
    attention: NystromAttention,
    tokens: Float[Tensor, "1 patch dim"],
    *,
    layout: BagLayout,
    chunk: int = CHUNK,
) -> Float[Tensor, "head patch"]:
    """Row of CLS in softmax(q k_l') Z softmax(q_l k'), without the matrix (paper, equation 2).

    The row times the values of the tokens is the result for CLS before the output layer, without
    the residual convolution. Z is a pseudo-inverse with negative values, so the row may have some.

    Parameters
    ----------
    norm, attention
        The layer.
    tokens
        CLS and patches of one bag before the layer.
    layout
        Where the tokens lie.
    chunk
        Tokens at a time.

    Returns
    -------
    Weight of each token, CLS first, in full precision. The weights of a head sum to about 1, minus
    the weight of blanks if there are any.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        n_tokens = tokens.shape[1]
        rows = [slice(start, start + chunk) for start in range(0, n_tokens, chunk)]
        sums = landmark_sums(lambda some: norm(tokens[:, some]), rows, layout)
        q_landmarks, k_landmarks = attention.landmarks(sums, layout)
        q = attention.project(norm(tokens[:, :1]), QUERIES) * attention.scale
        identity = torch.eye(k_landmarks.shape[2], dtype=q.dtype, device=q.device)
        identity = identity.expand(1, attention.heads, -1, -1)
        inverse = attention.invert(q_landmarks, k_landmarks, identity, layout)
        to_landmarks = (q @ k_landmarks.mT).softmax(dim=-1) @ inverse
        q_landmarks = q_landmarks * attention.scale

        def logits() -> Iterator[Float[Tensor, "1 head landmark _"]]:
            for some in rows:
                yield q_landmarks @ attention.project(norm(tokens[:, some]), KEYS).mT

        log_total = q_landmarks.new_full(q_landmarks.shape[:3], -torch.inf)
        if layout.blanks is not None:  # each is a key of logit 0
            log_total = layout.blanks.to(q.dtype).log().expand_as(log_total)
        for some in logits():
            log_total = torch.logaddexp(log_total, some.logsumexp(dim=-1))
        parts = [to_landmarks @ (some - log_total[..., None]).exp() for some in logits()]
        return torch.cat(parts, dim=-1)[0, :, 0]
