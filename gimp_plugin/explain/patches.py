"""What each patch of a case adds to the evidence for a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import repeat
from numpy.typing import NDArray

from gimp_plugin.explain.evidence import Evidence, integrated


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What each patch adds to the log-odds of a class.

    Parameters
    ----------
    values
        One value a patch, in nats.
    full, baseline
        Log-odds of the case, and of one whose patches all are the mean patch.
    """

    values: NDArray[np.float32]
    full: float
    baseline: float

    @property
    def error(self) -> float:
        """Completeness error: sum of the values, less what they should sum to."""
        return float(self.values.sum(dtype=np.float64)) - (self.full - self.baseline)


def parts(n_patches: int, *, max_patches: int) -> list[NDArray[np.int64]]:
    """Rows of a bag in as few parts as hold at most so many: every k-th patch, its order kept.

    A part looks like one of the random subsets of patches that models are fine-tuned on.

    Parameters
    ----------
    n_patches
        Patches of the bag.
    max_patches
        Patches of a part, at most.

    Returns
    -------
    Rows of each part; each row is in one of them.

    Examples
    --------
    >>> [part.tolist() for part in parts(5, max_patches=3)]
    [[0, 2, 4], [1, 3]]
    """
    n_parts = -(-n_patches // max_patches)
    return [np.arange(part, n_patches, n_parts) for part in range(n_parts)]


def attribute(evidence: Evidence, target: int, *, n_steps: int, max_patches: int) -> Attribution:
    """Integrated gradients of the patches of a case, together.

    The path runs from a bag of as many copies of the case's mean patch to the bag, in the space of
    tokens. So the values say what a patch adds by being other than the case's average, with the
    average's own evidence in `baseline`; nothing that is asked of other cases changes them. A bag
    of more than `max_patches` is cut into interleaved parts, each explained as a bag of its own.

    Parameters
    ----------
    evidence
        The case.
    target
        Class.
    n_steps
        Points of the path.
    max_patches
        Patches of a part: the memory for gradients grows with it, and with nothing else.

    Returns
    -------
    The attribution. Its error holds that of the parts, too.
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
    """What the log-odds of a class lose when a region is taken out, for each of its patches.

    Parameters
    ----------
    evidence
        The case.
    target
        Class.
    regions
        Region of each patch, numbered from 0.
    full
        Log-odds with all patches.

    Returns
    -------
    The loss divided by the patches of the region, by patch; NaN where there is one region only,
    without which nothing would be left.
    """
    values = np.full(len(regions), np.nan, np.float32)
    if regions.max(initial=0) == 0:
        return values
    for region in range(regions.max() + 1):
        inside = regions == region
        without = evidence.of_rows(np.flatnonzero(~inside))[target]
        values[inside] = (full - without) / inside.sum()
    return values
