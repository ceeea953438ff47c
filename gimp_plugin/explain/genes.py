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
    reference: Float[Tensor, "class gene"] | None = None,
    targets: Sequence[int] | None = None,
) -> GeneAttribution:
    """Integrated gradients of the genes of a case, its slides as they are.

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
    reference
        Standardised expression where the path to each class starts; 0 if not given, where every
        gene has the mean of the training cases.
    targets
        Classes; all if not given.

    Returns
    -------
    The attribution, to the classes in that order.
    """
    score = score_of_genes(model, cls_img, temperature=temperature)
    inputs = genes[None]
    with torch.no_grad():
        full = score(inputs)[0].double()
    n_classes = len(full)
    chosen = list(range(n_classes)) if targets is None else list(targets)
    at_a_time = 1 if isinstance(model, SystemModel) else POINTS_AT_A_TIME
    # The log-odds of one of two classes are those of the other, negative: so is a path from one
    # place for both.
    mirrored = reference is None and n_classes == 2
    found, wanted = {}, {}
    for target in [1] if mirrored else chosen:
        start = torch.zeros_like(inputs) if reference is None else reference[target][None]
        with torch.no_grad():
            wanted[target] = float(full[target] - score(start)[0, target].double())
        found[target] = integrated(
            score, inputs, start, target=target, n_steps=n_steps, at_a_time=at_a_time
        )
    if mirrored:
        found[0], wanted[0] = -found[1], -wanted[1]
    values = torch.stack([found[target] for target in chosen]).float().cpu().numpy()
    gained = np.array([wanted[target] for target in chosen])
    return GeneAttribution(values, values.sum(axis=1, dtype=np.float64) - gained)


def means_of_others(class_means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the other classes for each class, each of them weighing alike.

    Parameters
    ----------
    class_means
        Mean of each class, shape (class, gene).

    Returns
    -------
    Of the same shape.

    Examples
    --------
    >>> means_of_others(np.array([[1.0], [2.0], [6.0]], np.float32)).tolist()
    [[4.0], [3.5], [1.5]]
    """
    rows = [
        np.delete(class_means, place, axis=0).mean(axis=0, dtype=np.float64)
        for place in range(len(class_means))
    ]
    return np.stack(rows).astype(np.float32)


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
    training cases, wherever the path of an attribution starts.
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
