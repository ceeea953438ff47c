"""Simulated expression of the demonstration cohort."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_GENES = 601
N_INFORMATIVE = 200
N_NUISANCE = 120
SCALE = "log2"


def gene_names() -> list[str]:
    """Names that nobody takes for genes."""
    return [f"SIM{number:04d}" for number in range(1, N_GENES + 1)]


def draw_expression(
    activity: NDArray[np.float64], *, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw log2 expression of which a third of the genes follows each case's activity.

    A fifth of the genes follows something that has nothing to do with the class, as the age of
    the sample or its purity would; the rest is noise.

    Parameters
    ----------
    activity
        One number a case, about standard normal.
    rng
        Of base levels, loadings and noise.

    Returns
    -------
    Not negative, shape (case, gene).
    """
    order = rng.permutation(N_GENES)
    informative, nuisance = order[:N_INFORMATIVE], order[N_INFORMATIVE:][:N_NUISANCE]
    values = rng.uniform(2.0, 9.0, N_GENES) + rng.normal(0, 0.8, (len(activity), N_GENES))
    values[:, informative] += np.outer(activity, rng.normal(0, 0.8, N_INFORMATIVE))
    hidden = rng.normal(size=len(activity))
    values[:, nuisance] += np.outer(hidden, rng.normal(0, 0.5, N_NUISANCE))
    return np.clip(values, 0, None).astype(np.float32)
