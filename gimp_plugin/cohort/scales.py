"""Scales of expression values: their names, guesses, and conversion to a log scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import CohortError

COUNTS = "counts"
STANDARDISED = "standardised"
LINEAR = ("fpkm", "fpkm-uq", "tpm", "linear")
LOGARITHMIC = ("log", "log1p", "log2")
SCALES = (COUNTS, *LINEAR, *LOGARITHMIC, STANDARDISED)
"""Scales by name; a guess can only tell `linear` and `log`, without unit and base."""

NON_NEGATIVE = (COUNTS, *LINEAR)
LOG_CEILING = 30.0
"""Largest plausible log value: 2^30 is a billion reads of one gene."""
LINEAR_FLOOR = 50.0
"""A cohort with a value above this is not on a log scale."""

_TARGET_SUM = 1e6
_BLOCK_VALUES = 1 << 22


def row_blocks(values: NDArray[np.float32]) -> Iterator[slice]:
    """Yield rows in blocks of a few million values, so that temporaries stay small."""
    step = max(1, _BLOCK_VALUES // max(1, values.shape[1]))
    for start in range(0, values.shape[0], step):
        yield slice(start, min(start + step, values.shape[0]))


def is_whole(values: NDArray[np.float32]) -> bool:
    """Whether all values are whole numbers."""
    return all(bool((values[rows] == np.rint(values[rows])).all()) for rows in row_blocks(values))


def guess_scale(values: NDArray[np.float32], *, where: str = "the cohort") -> str:
    """Guess the scale of the values.

    A negative value means standardised; only whole numbers, counts; a maximum of at most 30, a log
    scale; a maximum above 50, a linear scale.

    Parameters
    ----------
    values
        Finite expression values, shape (case, gene), not empty.
    where
        Name of the values, for the message.

    Returns
    -------
    `standardised`, `counts`, `log` or `linear`.

    Raises
    ------
    CohortError
        If the maximum is between 30 and 50, where no guess is safe.
    """
    low, high = float(values.min()), float(values.max())
    if low < 0:
        return STANDARDISED
    if is_whole(values):
        return COUNTS
    if high <= LOG_CEILING:
        return "log"
    if high > LINEAR_FLOOR:
        return "linear"
    problem = f"the scale of {where} cannot be guessed from a maximum of {high:g}: above"
    hint = f"give --scale, one of {', '.join(SCALES)}"
    raise CohortError(f"{problem} {LOG_CEILING:g} for log, not above {LINEAR_FLOOR:g}", hint=hint)


def log_scale(
    values: NDArray[np.float32], scale: str, *, totals: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Convert values to a log scale, each case separately.

    Counts are scaled to a sum of one million per case before log(1 + x); FPKM, FPKM-UQ, TPM and
    other linear values become log(1 + x); log and standardised values are unchanged. A case of
    zeros remains zero.

    Parameters
    ----------
    values
        Expression, shape (case, gene).
    scale
        One of `SCALES`.
    totals
        Sum of each case's counts, if `values` does not have all of its genes.

    Returns
    -------
    A new array of the same shape, or `values` itself if nothing changes.
    """
    if scale == COUNTS:
        totals = values.sum(axis=1, dtype=np.float64) if totals is None else totals
        per_million = values * (_TARGET_SUM / np.where(totals > 0, totals, 1.0))[:, None]
        return np.log1p(per_million).astype(np.float32)
    if scale in LINEAR:
        return np.log1p(values, dtype=np.float32)
    return values
