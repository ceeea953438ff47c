"""Test whether the genes of a set have larger attributions than the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Enrichment(NamedTuple):
    """Test result of one set of genes.

    Parameters
    ----------
    name
        Name of the set.
    n_genes
        Number of its genes that the model reads.
    auc
        Probability that a gene of the set has a larger value than one of the others; .5 means no
        difference.
    p, q
        One-sided p of the Mann-Whitney test, and the same adjusted for the number of sets
        (Benjamini and Hochberg).
    """

    name: str
    n_genes: int
    auc: float
    p: float
    q: float


def enriched(
    values: NDArray[np.floating], sets: Mapping[str, NDArray[np.int64]], *, least: int = 5
) -> list[Enrichment]:
    """Test sets of genes.

    Parameters
    ----------
    values
        One value per gene; larger values matter more.
    sets
        Genes of each set, as indices into `values`.
    least
        Sets with fewer genes are skipped, as are sets of all genes.

    Returns
    -------
    The tested sets, smallest p first.
    """
    from scipy.stats import false_discovery_control, mannwhitneyu

    tested = []
    for name, members in sets.items():
        if not least <= len(members) < len(values):
            continue
        inside = np.zeros(len(values), bool)
        inside[members] = True
        found = mannwhitneyu(values[inside], values[~inside], alternative="greater")
        pairs = int(inside.sum()) * int((~inside).sum())
        tested.append(
            (name, int(inside.sum()), float(found.statistic) / pairs, float(found.pvalue))
        )
    if not tested:
        return []
    adjusted = false_discovery_control([p for *_, p in tested])
    rows = [Enrichment(*one, float(q)) for one, q in zip(tested, adjusted, strict=True)]
    return sorted(rows, key=lambda one: (one.p, one.name))
