"""Which half of a case decided: its Shapley value, exactly, from four predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Shares(NamedTuple):
    """Shapley values of the two halves, in the units of what they were computed from."""

    slides: Floats
    genes: Floats


def shapley(*, both: Floats, slides: Floats, genes: Floats, none: Floats) -> Shares:
    """Shapley values (1953) of two players, from the value of each coalition.

    They sum to what both halves change together, `both - none`. Their difference is `slides -
    genes`: what stands for no half at all has no say in which of them counts for more.

    Parameters
    ----------
    both, slides, genes, none
        A value of each case, from these halves; the other's learned token stands for it.

    Returns
    -------
    What each half adds, averaged over the two orders in which they may come.

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
