"""Test whether scores of patches agree with the model, with each other, and with the tissue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.explain.evidence import Evidence

Scores = NDArray[np.float32]
Kept = Callable[[NDArray[np.int64]], float]
"""Maps indices of the patches to keep to the evidence from these alone."""

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of the patches that are inserted or deleted."""

N_ORDERS = 5
N_TOP = 20
"""Number of genes in a table of the most important ones."""


def evidence_of(evidence: Evidence, target: int) -> Kept:
    """Give the log-odds of a class as a function of the patches that are kept."""
    return lambda rows: float(evidence.of_rows(np.sort(rows))[target])


def areas(
    kept: Kept,
    scores: Mapping[str, Scores],
    rows: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    n_orders: int = N_ORDERS,
) -> dict[str, float]:
    """Area between the deletion and insertion curves of a score and those of random order.

    At each of `SHARES`, insertion keeps only the patches with the highest scores, and deletion only
    the others (Petsiuk et al. 2018, arXiv 1806.07421). Random orders are the same for all scores.

    Parameters
    ----------
    kept
        Evidence from some of the patches.
    scores
        One value per patch, by name; higher values support the class.
    rows
        Patches to use.
    rng
        Random generator for the random orders.
    n_orders
        Number of random orders that are averaged.

    Returns
    -------
    `deletion_<name>`: how much lower the evidence is after deletion by the score than after
    random deletion; `insertion_<name>`: how much higher it is after insertion; each averaged over
    the shares. A value above 0 means that the score is faithful to the model. Empty for a single
    patch.
    """
    n_patches = len(rows)
    if n_patches < 2:
        return {}
    sizes = [min(n_patches - 1, max(1, round(share * n_patches))) for share in SHARES]
    wanted = sorted({*sizes, *(n_patches - size for size in sizes)})
    orders = [rng.permutation(rows) for _ in range(n_orders)]
    by_chance = {size: float(np.mean([kept(order[:size]) for order in orders])) for size in wanted}
    found = {}
    for name, values in scores.items():
        order = rows[np.argsort(-values[rows], kind="stable")]
        gaps = np.array(
            [
                (
                    by_chance[n_patches - size] - kept(order[size:]),
                    kept(order[:size]) - by_chance[size],
                )
                for size in sizes
            ]
        )
        found[f"deletion_{name}"], found[f"insertion_{name}"] = gaps.mean(axis=0).tolist()
    return found


def agreement(scores: Mapping[str, Scores], regions: NDArray[np.int64]) -> dict[str, float]:
    """Rank correlation (Spearman) of each pair of scores of a case.

    Parameters
    ----------
    scores
        One value per patch, by name; `occlusion` has the same value for all patches of a region.
    regions
        Region of each patch: `occlusion` is compared with means over regions.

    Returns
    -------
    `spearman_<one>_<other>`; pairs with a constant or unknown score are left out.
    """
    found = {}
    sizes = np.bincount(regions)
    for one, other in combinations(scores, 2):
        pair: list[NDArray[np.floating]] = [scores[one], scores[other]]
        if "occlusion" in {one, other}:
            pair = [np.bincount(regions, part) / sizes for part in pair]
        value = spearman(*pair)
        if value is not None:
            found[f"spearman_{one}_{other}"] = value
    return found


def gene_agreement(
    one: NDArray[np.floating], other: NDArray[np.floating], *, most: int = N_TOP
) -> dict[str, float]:
    """Measure whether two runs find the same genes important for a case.

    Parameters
    ----------
    one, other
        Attribution of each gene by each run; a gene that is NaN for either does not count.
    most
        Maximum number of top genes; a tenth of the genes if that is fewer.

    Returns
    -------
    `genes`: rank correlation of the signed attributions; `top_genes`: share of the top genes by
    absolute attribution that the runs have in common. For unrelated runs, that share is on average
    the number of top genes divided by the number of all genes. Empty for fewer than 3 genes.

    Examples
    --------
    >>> one = np.arange(20.0)
    >>> gene_agreement(one, -one)
    {'genes': -1.0, 'top_genes': 1.0}
    """
    shared = np.isfinite(one) & np.isfinite(other)
    correlation = spearman(one[shared], other[shared])
    if correlation is None:
        return {}
    return {"genes": correlation, "top_genes": top_overlap(one[shared], other[shared], most=most)}


def n_top(n_genes: int, *, most: int = N_TOP) -> int:
    """Number of top genes: a tenth of the genes, but at least one and at most `most`."""
    return min(most, max(1, n_genes // 10))


def top_overlap(
    one: NDArray[np.floating], other: NDArray[np.floating], *, most: int = N_TOP
) -> float:
    """Share of the genes with the largest absolute values that both have in common."""
    count = n_top(len(one), most=most)
    tops = [set(np.argsort(-np.abs(side), kind="stable")[:count].tolist()) for side in (one, other)]
    return len(tops[0] & tops[1]) / count


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    """Rank correlation; None for unknown or constant values, or fewer than 3."""
    from scipy.stats import spearmanr

    known = np.isfinite(one).all() and np.isfinite(other).all()
    if not known or len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def truth_aucs(scores: Mapping[str, Scores], truth: NDArray[np.float64]) -> dict[str, float]:
    """Probability that a patch of the wanted kind has a higher score than another patch.

    Parameters
    ----------
    scores
        One value per patch, by name.
    truth
        1 for patches of the wanted kind, 0 for others, NaN for patches to ignore.

    Returns
    -------
    `auc_<name>`; empty if one of the kinds is missing.
    """
    from sklearn.metrics import roc_auc_score

    counted = np.isfinite(truth)
    if len(np.unique(truth[counted])) < 2:
        return {}
    return {
        f"auc_{name}": float(roc_auc_score(truth[counted], values[counted]))
        for name, values in scores.items()
        if np.isfinite(values[counted]).all()
    }
