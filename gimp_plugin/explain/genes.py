"""What each gene of a case adds to the evidence for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gimp_plugin.explain.evidence import Score, classified, integrated
from gimp_plugin.explain.faithfulness import Kept
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.system import SystemModel

POINTS_AT_A_TIME = 8
"""A system reads one case at a time, and all its patches with it."""


@dataclass(frozen=True, slots=True, eq=False)
class GeneAttribution:
    """What each gene of a case adds to the log-odds of each class.

    Parameters
    ----------
    values
        Shape (class, gene), in nats.
    error
        Completeness error of each class: sum of the values, less what they should sum to.
    """

    values: NDArray[np.float32]
    error: NDArray[np.float64]


def attribute_genes(
    model: GimpModel,
    genes: Float[Tensor, " gene"],
    cls_img: Float[Tensor, "1 ..."] | None,
    *,
    temperature: float,
    n_steps: int,
    targets: Sequence[int] | None = None,
) -> GeneAttribution:
    """Integrated gradients of the genes of a case, its slides as they are.

    The path starts at 0, where every gene has the mean of the training cases.

    Parameters
    ----------
    model
        The model of a run, in evaluation mode.
    genes
        Standardised expression.
    cls_img
        CLS_img, or the patches as a system reads them; None for a case without slides.
    temperature
        What logits are divided by.
    n_steps
        Points of the path.
    targets
        Classes; all if not given.

    Returns
    -------
    The attribution, to the classes in that order.
    """
    score = score_of_genes(model, cls_img, temperature=temperature)
    inputs = genes[None]
    baseline = torch.zeros_like(inputs)
    with torch.no_grad():
        wanted = (score(inputs) - score(baseline))[0].double().cpu().numpy()
    n_classes = len(wanted)
    chosen = list(range(n_classes)) if targets is None else list(targets)
    at_a_time = 1 if isinstance(model, SystemModel) else POINTS_AT_A_TIME
    # The log-odds of one of two classes are those of the other, negative.
    found = {
        target: integrated(
            score, inputs, baseline, target=target, n_steps=n_steps, at_a_time=at_a_time
        )
        for target in ([1] if n_classes == 2 else chosen)
    }
    if n_classes == 2:
        found[0] = -found[1]
    values = torch.stack([found[target] for target in chosen]).float().cpu().numpy()
    return GeneAttribution(values, values.sum(axis=1, dtype=np.float64) - wanted[chosen])


def evidence_of_genes(
    model: GimpModel,
    genes: Float[Tensor, " gene"],
    cls_img: Float[Tensor, "1 ..."] | None,
    target: int,
    *,
    temperature: float,
) -> Kept:
    """Log-odds of a class as a function of the genes that are left.

    Parameters
    ----------
    model, genes, cls_img, temperature
        As for `attribute_genes`.
    target
        Class.

    Returns
    -------
    From the genes that keep their values to the log-odds; all others have the mean of the
    training cases.
    """
    score = score_of_genes(model, cls_img, temperature=temperature)

    def kept(rows: NDArray[np.int64]) -> float:
        some = torch.zeros_like(genes)
        left = torch.from_numpy(rows).to(genes.device)
        some[left] = genes[left]
        with torch.no_grad():
            return float(score(some[None])[0, target])

    return kept


def by_group(
    values: NDArray[np.float32], groups: NDArray[np.int64], *, n_groups: int
) -> NDArray[np.float64]:
    """Sums over the genes of each group.

    Parameters
    ----------
    values
        Shape (..., gene).
    groups
        Group of each gene.
    n_groups
        How many groups there are.

    Returns
    -------
    Shape (..., group).
    """
    member = groups[:, None] == np.arange(n_groups)
    return np.asarray(values.astype(np.float64) @ member)


def score_of_genes(model: GimpModel, cls_img: Tensor | None, *, temperature: float) -> Score:
    """Log-odds of each class as a function of standardised genes, the slides as they are.

    Parameters
    ----------
    model, cls_img, temperature
        As for `attribute_genes`.

    Returns
    -------
    From genes, shape (batch, gene), to log-odds, shape (batch, class).
    """

    def score(some: Tensor) -> Tensor:
        half = None if cls_img is None else cls_img.expand(len(some), *cls_img.shape[1:])
        return classified(model, half, model.encode_genes(some), temperature=temperature)

    return score
