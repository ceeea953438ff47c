"""Contribution of each gene of a case to the evidence for each class."""

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
"""Points of the path per step; only 1 for a system, which reads all patches with each point."""


@dataclass(frozen=True, slots=True, eq=False)
class GeneAttribution:
    """Contribution of each gene of a case to the log-odds of each class.

    Parameters
    ----------
    values
        Shape (class, gene), in nats.
    error
        Completeness error of each class: the sum of the values minus what it should be.
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
    """Integrated gradients of the genes of a case, with its slides unchanged.

    Parameters
    ----------
    model
        The model of a run, in evaluation mode.
    genes
        Standardised expression.
    cls_img
        CLS_img, or the patches as a system reads them; None for a case without slides.
    temperature
        Number by which logits are divided.
    n_steps
        Number of points on the path.
    reference
        Standardised expression at which the path for each class starts; by default 0, the mean of
        the training cases for every gene.
    targets
        Indices of the classes; by default all.

    Returns
    -------
    The attribution, for the classes in that order.
    """
    score = score_of_genes(model, cls_img, temperature=temperature)
    inputs = genes[None]
    with torch.no_grad():
        full = score(inputs)[0].double()
    n_classes = len(full)
    chosen = list(range(n_classes)) if targets is None else list(targets)
    at_a_time = 1 if isinstance(model, SystemModel) else POINTS_AT_A_TIME
    # With two classes, the log-odds of one are the negative of the other's, and so are the
    # attributions if both paths start at the same point.
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
    """Mean of the other classes for each class, with equal weights.

    Parameters
    ----------
    class_means
        Mean of each class, shape (class, gene).

    Returns
    -------
    The means, of the same shape.

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
    """Give the log-odds of a class as a function of the genes that are kept.

    Parameters
    ----------
    model, genes, cls_img, temperature
        As for `attribute_genes`.
    target
        Index of the class.

    Returns
    -------
    Function of the genes that keep their values, returning the log-odds. All other genes are set to
    the mean of the training cases, whatever the start of an attribution path.
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
    """Sum over the genes of each group.

    Parameters
    ----------
    values
        Shape (..., gene).
    groups
        Group of each gene.
    n_groups
        Number of groups.

    Returns
    -------
    Shape (..., group).
    """
    member = groups[:, None] == np.arange(n_groups)
    return np.asarray(values.astype(np.float64) @ member)


def score_of_genes(model: GimpModel, cls_img: Tensor | None, *, temperature: float) -> Score:
    """Give the log-odds as a function of standardised genes, with the slides unchanged.

    Parameters
    ----------
    model, cls_img, temperature
        As for `attribute_genes`.

    Returns
    -------
    Function of genes, shape (batch, gene), that returns log-odds, shape (batch, class).
    """

    def score(some: Tensor) -> Tensor:
        half = None if cls_img is None else cls_img.expand(len(some), *cls_img.shape[1:])
        return classified(model, half, model.encode_genes(some), temperature=temperature)

    return score
