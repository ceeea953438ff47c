"""Losses of pre-training: masked reconstruction and triplets (paper, equations 3 and 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


class TripletLoss(NamedTuple):
    """The triplet loss, and values that show whether it still has an effect.

    Parameters
    ----------
    loss
        Mean over the triplets that violate the margin; 0, with a gradient of 0, if none do.
    active_share
        Share of the triplets that violate the margin; 0 if there are none.
    positive_distance, negative_distance
        Mean squared distance within and between the classes; 0 if there are no such pairs.
    """

    loss: Float[Tensor, ""]
    active_share: Float[Tensor, ""]
    positive_distance: Float[Tensor, ""]
    negative_distance: Float[Tensor, ""]


def masked_l1(
    predicted: Float[Tensor, "patch feature"],
    features: Float[Tensor, "patch feature"],
    *,
    reduction: str = "mean",
) -> Float[Tensor, ""]:
    """Reconstruction loss of masked patch modeling, L_rec (paper, equation 3).

    Parameters
    ----------
    predicted
        Decoder output for the masked patches.
    features
        Their features, as the model sees visible ones.
    reduction
        `mean` over all values, so that the loss does not grow with the bag length or the mask
        ratio; or `sum`, as in the paper.

    Returns
    -------
    The loss; 0, with a gradient, when nothing was masked.

    Examples
    --------
    >>> features = torch.zeros(2, 3)
    >>> masked_l1(features + 2, features).item()
    2.0
    >>> masked_l1(features + 2, features, reduction="sum").item()
    12.0
    """
    total = functional.l1_loss(predicted, features, reduction="sum")
    return total if reduction == "sum" else total / max(1, features.numel())


def triplet_loss(
    embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"], *, margin: float
) -> TripletLoss:
    """Gene-induced triplet loss over all triplets of a batch, L_tri (paper, equation 4).

    The paper speaks of "a triplet list"; we use every anchor with every other case of its class and
    every case of another class. A case without a label (-1) is in no triplet and no pair.

    Parameters
    ----------
    embeddings
        One embedding per case.
    labels
        Class of each case; -1 if it is not known.
    margin
        delta, as a squared distance.

    Returns
    -------
    The mean over the triplets that violate the margin, and statistics of the triplets.

    Examples
    --------
    >>> embeddings = torch.tensor([[0.0], [1.0], [1.5]])
    >>> triplet = triplet_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.8)
    >>> [round(value.item(), 3) for value in triplet]
    [1.55, 0.5, 1.0, 1.25]
    """
    known = labels >= 0
    both, same = rearrange(known, "i -> i 1") & known, rearrange(labels, "i -> i 1") == labels
    positive = both & same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    negative = both & ~same
    distance = (rearrange(embeddings, "i d -> i 1 d") - embeddings).square().sum(dim=-1)
    valid = rearrange(positive, "a p -> a p 1") & rearrange(negative, "a n -> a 1 n")
    excess = rearrange(distance, "a p -> a p 1") + margin - rearrange(distance, "a n -> a 1 n")
    active = valid & (excess > 0)
    return TripletLoss(
        loss=_mean_of(excess, active),
        active_share=_mean_of(active.to(distance.dtype), valid),
        positive_distance=_mean_of(distance.detach(), positive),
        negative_distance=_mean_of(distance.detach(), negative),
    )


def patient_embedding(
    cls_img: Float[Tensor, "batch dim"], cls_ge: Float[Tensor, "batch dim"], *, normalise: bool
) -> Float[Tensor, "batch 2*dim"]:
    """CLS_pat, the two halves side by side (paper, section 2.3).

    Parameters
    ----------
    cls_img, cls_ge
        The halves.
    normalise
        Whether to scale each half to unit length. The squared norms of the raw halves are about d,
        so a margin of 0.8 would be negligible.

    Returns
    -------
    The embedding of each patient.
    """
    if normalise:
        cls_img, cls_ge = functional.normalize(cls_img), functional.normalize(cls_ge)
    return torch.cat([cls_img, cls_ge], dim=-1)


def _mean_of(values: Float[Tensor, " ..."], chosen: Bool[Tensor, " ..."]) -> Float[Tensor, ""]:
    """Mean of the chosen values, 0 if none is chosen."""
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)
