"""Areas under many ROC curves at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]


def weighted_auc(scores: Floats, positive: Claims, weights: Floats) -> Floats:
    """Compute the AUC of one ranking under many weightings of its cases.

    Parameters
    ----------
    scores
        Shape (case,).
    positive
        True for the positive cases, shape (case,).
    weights
        How often each case counts, shape (draw, case).

    Returns
    -------
    Share of the pairs of a positive and a negative case that are ranked correctly, ties counting
    half; shape (draw,). NaN if the weights leave no positive or no negative case.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of each run of ties
    weights, positive = weights[:, order], positive[order]
    above = np.add.reduceat(weights * positive, starts, axis=1)
    below = np.add.reduceat(weights * ~positive, starts, axis=1)
    in_order = above * (below.cumsum(axis=1) - below / 2)
    pairs = above.sum(axis=1) * below.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return in_order.sum(axis=1) / pairs


def each_auc(scores: Floats, positive: Claims) -> Floats:
    """Compute the AUC of many rankings of the same cases.

    Parameters
    ----------
    scores
        Shape (draw, case).
    positive
        True for the positive cases, shape (case,); at least one is True and one False.

    Returns
    -------
    Share of the pairs of a positive and a negative case that are ranked correctly, ties counting
    half; shape (draw,). This is the Mann-Whitney statistic, computed from the sum of ranks.
    """
    n_positive = int(positive.sum())
    n_pairs = n_positive * (positive.size - n_positive)
    ranks = rankdata(scores, axis=1)[:, positive].sum(axis=1)
    return (ranks - n_positive * (n_positive + 1) / 2) / n_pairs
