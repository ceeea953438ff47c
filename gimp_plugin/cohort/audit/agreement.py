"""Groups whose means agree better than chance allows.

The means of randomly drawn groups differ by about a standard error; those of real groups differ
more. Groups that were each centred or standardised separately differ less, even when some of their
cases were left out afterwards and no mean is exactly 0 any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit.groups import Grouping
from gimp_plugin.cohort.audit.subject import Subject

FEWEST_CASES = 20
FEWEST_GENES = 20
N_PERMUTATIONS = 999
CHANCE = 0.001
LARGEST_RATIO = 0.5
_MOST_GENES = 2000
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far apart the means of groups are.

    Parameters
    ----------
    ratio
        Variance between the groups, divided by that between random groups of the same sizes.
    p_value
        Share of 999 permutations of the cases whose groups agree at least as well.
    """

    ratio: float
    p_value: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the groups agree better than chance allows."""
        return self.p_value <= CHANCE and self.ratio < LARGEST_RATIO


def agreement_of(subject: Subject, grouping: Grouping) -> Agreement | None:
    """Compare the means of groups with those of groups drawn by chance.

    Parameters
    ----------
    subject
        The cohort; at most 2,000 of its varying genes are used, evenly spaced.
    grouping
        A division of its cases; groups of fewer than 5 cases are left out.

    Returns
    -------
    The agreement; None for fewer than 20 cases, 20 genes or 2 groups.
    """
    inside = grouping.large[grouping.member]
    genes = np.flatnonzero(subject.varying_genes)
    if inside.sum() < FEWEST_CASES or len(genes) < FEWEST_GENES or grouping.large.sum() < 2:
        return None
    genes = genes[:: -(-len(genes) // _MOST_GENES)]
    values = subject.values[np.ix_(inside, genes)].astype(np.float64)
    values -= values.mean(axis=0)
    spread = values.std(axis=0)
    values = values[:, spread > 0] / spread[spread > 0]
    member = np.unique(grouping.member[inside], return_inverse=True)[1]
    seen = _between(values, member)
    rng = np.random.default_rng(_SEED)
    drawn = np.array([_between(values, rng.permutation(member)) for _ in range(N_PERMUTATIONS)])
    p_value = (1 + (drawn <= seen).sum()) / (1 + N_PERMUTATIONS)
    return Agreement(ratio=float(seen / drawn.mean()), p_value=float(p_value))


def _between(values: NDArray[np.float64], member: NDArray[np.int64]) -> float:
    """Sum of squares between groups, over all genes."""
    one_hot = (member[None, :] == np.arange(member.max() + 1)[:, None]).astype(float)
    sizes = one_hot.sum(axis=1)
    return float((((one_hot @ values) ** 2).sum(axis=1) / sizes).sum())
