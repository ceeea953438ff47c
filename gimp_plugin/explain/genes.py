"""What each gene of a case adds to the evidence for each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gimp_plugin.explain.evidence import classified, integrated
from gimp_plugin.models.gimp import GimpModel

POINTS_AT_A_TIME = 8


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
    cls_img: Float[Tensor, "1 dim"] | None,
    *,
    temperature: float,
    n_steps: int,
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
        CLS_img; None for a case without slides.
    temperature
        What logits are divided by.
    n_steps
        Points of the path.

    Returns
    -------
    The attribution.
    """

    def score(some: Tensor) -> Tensor:
        half = None if cls_img is None else cls_img.expand(len(some), -1)
        return classified(model, half, model.encode_genes(some), temperature=temperature)

    inputs = genes[None]
    baseline = torch.zeros_like(inputs)
    with torch.no_grad():
        wanted = (score(inputs) - score(baseline))[0].double().cpu().numpy()
    n_classes = len(wanted)
    found = [
        integrated(
            score, inputs, baseline, target=target, n_steps=n_steps, at_a_time=POINTS_AT_A_TIME
        )
        for target in range(1 if n_classes == 2 else 0, n_classes)
    ]
    if n_classes == 2:  # the log-odds of one class are those of the other, negative
        found = [-found[0], *found]
    values = torch.stack(found).float().cpu().numpy()
    return GeneAttribution(values, values.sum(axis=1, dtype=np.float64) - wanted)


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
