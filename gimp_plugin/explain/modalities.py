"""Contribution of each half of a case: its exact Shapley value, from four predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Shares(NamedTuple):
    """Shapley values of the two halves, in the units of their inputs."""

    slides: Floats
    genes: Floats


def shapley(*, both: Floats, slides: Floats, genes: Floats, none: Floats) -> Shares:
    """Shapley values (1953) of two players, from the value of each coalition.

    They sum to the joint effect of both halves, `both - none`. Their difference is `slides -
    genes`, so the value without any half does not affect which half counts for more.

    Parameters
    ----------
    both, slides, genes, none
        Value of each case, predicted from these halves; a learned token replaces a missing half.

    Returns
    -------
    The contribution of each half, averaged over both orders of adding them.

    Examples
    --------
    >>> one = shapley(
    ...     both=np.array(5.0), slides=np.array(4.0), genes=np.array(2.0), none=np.array(1.0)
    ... )
    >>> float(one.slides), float(one.genes)
    (3.0, 1.0)
    """
    return Shares(
        slides=((slides - none) + (both - genes)) / 2,
        genes=((genes - none) + (both - slides)) / 2,
    )
