"""Simulated expression of the demonstration cohort."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_GENES = 601
N_INFORMATIVE = 200
N_NUISANCE = 120
SCALE = "log2"


def gene_names() -> list[str]:
    """Names that cannot be mistaken for real genes."""
    return [f"SIM{number:04d}" for number in range(1, N_GENES + 1)]


def draw_expression(
    activity: NDArray[np.float64], *, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw log2 expression in which a third of the genes follow the activity of each case.

    A fifth of the genes follow a factor that is unrelated to the class, like the age or purity of a
    sample; the rest are noise.

    Parameters
    ----------
    activity
        One number per case, approximately standard normal.
    rng
        Random generator for base levels, loadings and noise.

    Returns
    -------
    Expression, not negative, shape (case, gene).
    """
    order = rng.permutation(N_GENES)
    informative, nuisance = order[:N_INFORMATIVE], order[N_INFORMATIVE:][:N_NUISANCE]
    values = rng.uniform(2.0, 9.0, N_GENES) + rng.normal(0, 0.8, (len(activity), N_GENES))
    values[:, informative] += np.outer(activity, rng.normal(0, 0.8, N_INFORMATIVE))
    hidden = rng.normal(size=len(activity))
    values[:, nuisance] += np.outer(hidden, rng.normal(0, 0.5, N_NUISANCE))
    return np.clip(values, 0, None).astype(np.float32)
