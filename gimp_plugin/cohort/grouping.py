"""Orders of the genes: neighbours in an order share a fragment, and fragments a group.

A grouping is a function of the gene ids that gives a permutation: entry i is the index, in
`gene_ids`, of the gene that the model reads at place i. It ignores what it does not need of the
context (the training values, for instance, that an order by co-expression would use).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def file_order(gene_ids: Sequence[str], **context: object) -> NDArray[np.int64]:  # noqa: ARG001
    """Keep the genes as they stand in the cohort of the training."""
    return np.arange(len(gene_ids))


def random_order(
    gene_ids: Sequence[str],
    *,
    seed: int = 0,
    **context: object,  # noqa: ARG001
) -> NDArray[np.int64]:
    """Shuffle the genes: the control that shows whether another order matters.

    The order depends on the set of the ids and the seed, not on how the file was sorted.

    Returns
    -------
    A permutation of the genes.
    """
    by_name = np.argsort(np.asarray(gene_ids, dtype=object), kind="stable")
    return by_name[np.random.default_rng(seed).permutation(len(gene_ids))]
