"""Contribution of each patch of a case to the evidence for a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import repeat
from numpy.typing import NDArray

from gimp_plugin.explain.evidence import Evidence, integrated


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Contribution of each patch to the log-odds of a class.

    Parameters
    ----------
    values
        One value per patch, in nats.
    full, baseline
        Log-odds of the case, and with every patch replaced by the mean patch.
    """

    values: NDArray[np.float32]
    full: float
    baseline: float

    @property
    def error(self) -> float:
        """Completeness error: the sum of the values minus what it should be."""
        return float(self.values.sum(dtype=np.float64)) - (self.full - self.baseline)


def parts(n_patches: int, *, max_patches: int) -> list[NDArray[np.int64]]:
    """Split the rows of a bag into as few parts as possible: every k-th patch, in order.

    A part resembles the random subsets of patches that models are fine-tuned on.

    Parameters
    ----------
    n_patches
        Number of patches of the bag.
    max_patches
        Maximum number of patches of a part.

    Returns
    -------
    Rows of each part; each row is in exactly one part.

    Examples
    --------
    >>> [part.tolist() for part in parts(5, max_patches=3)]
    [[0, 2, 4], [1, 3]]
    """
    n_parts = -(-n_patches // max_patches)
    return [np.arange(part, n_patches, n_parts) for part in range(n_parts)]


def attribute(evidence: Evidence, target: int, *, n_steps: int, max_patches: int) -> Attribution:
    """Integrated gradients of the patches of a case, computed jointly.

    In the space of tokens, the path runs from a bag in which every patch is the mean patch of the
    case to the actual bag. The values thus say what a patch contributes by differing from the mean
    patch, whose own evidence is `baseline`; they do not depend on other cases. A bag of more than
    `max_patches` is split into interleaved parts, each explained as a separate bag.

    Parameters
    ----------
    evidence
        The case.
    target
        Index of the class.
    n_steps
        Number of points on the path.
    max_patches
        Maximum number of patches of a part; it alone decides the memory for gradients.

    Returns
    -------
    The attribution. Its error includes that of splitting into parts.
    """
    every = np.arange(evidence.n_patches)
    mean = evidence.tokens.mean(dim=0)
    values = np.empty(evidence.n_patches, np.float32)
    cut = parts(evidence.n_patches, max_patches=max_patches)
    for rows in cut:
        tokens = evidence.tokens[torch.from_numpy(rows).to(mean.device)][None]
        found = integrated(
            evidence.of_tokens(evidence.sizes_of(rows)),
            tokens,
            repeat(mean, "d -> 1 n d", n=len(rows)),
            target=target,
            n_steps=n_steps,
        )
        values[rows] = (found.sum(dim=-1) / len(cut)).cpu().numpy()
    full = float(evidence.of_rows(every)[target])
    even = repeat(mean, "d -> n d", n=evidence.n_patches)
    return Attribution(values, full, float(evidence.of_bag(even, evidence.sizes)[target]))


def occlude(
    evidence: Evidence, target: int, regions: NDArray[np.int64], *, full: float
) -> NDArray[np.float32]:
    """Loss of log-odds of a class when a region is removed, per patch of the region.

    Parameters
    ----------
    evidence
        The case.
    target
        Index of the class.
    regions
        Region of each patch, numbered from 0.
    full
        Log-odds with all patches.

    Returns
    -------
    For each patch, the loss of its region divided by the number of patches in the region; NaN if
    there is only one region, because nothing would be left without it.
    """
    values = np.full(len(regions), np.nan, np.float32)
    if regions.max(initial=0) == 0:
        return values
    for region in range(regions.max() + 1):
        inside = regions == region
        without = evidence.of_rows(np.flatnonzero(~inside))[target]
        values[inside] = (full - without) / inside.sum()
    return values
