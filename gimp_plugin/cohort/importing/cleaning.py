"""Handle missing values, and combine several rows or columns into one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.importing.rules import DROP_CASES, DROP_GENES, ERROR, MEAN, ZERO
from gimp_plugin.cohort.scales import COUNTS, LINEAR, LOGARITHMIC, row_blocks
from gimp_plugin.cohort.values import Table
from gimp_plugin.errors import CohortError

Values = NDArray[np.float32]
_LOG2, _LOG1P = "log2", "log1p"


def missing_values(table: Table, how: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """Find NaN and infinite values, and set them to 0 if asked to.

    Parameters
    ----------
    table
        The values; changed in place by `zero`.
    how
        `error`, `zero`, `drop-genes` or `drop-cases`.

    Returns
    -------
    Which cases and which genes to keep, and how many values were missing.

    Raises
    ------
    CohortError
        If there are any and `how` is `error`; the message gives their number and the first one.
    """
    values = table.values
    cases = np.ones(values.shape[0], dtype=bool)
    genes = np.ones(values.shape[1], dtype=bool)
    count, first = 0, None
    for rows in row_blocks(values):
        bad = ~np.isfinite(values[rows])
        if not bad.any():
            continue
        if first is None:
            place = np.unravel_index(int(bad.argmax()), bad.shape)
            first = (rows.start + int(place[0]), int(place[1]))
        count += int(bad.sum())
        if how == DROP_CASES:
            cases[rows] = ~bad.any(axis=1)
        if how == DROP_GENES:
            genes &= ~bad.any(axis=0)
        if how == ZERO:
            values[rows][bad] = 0.0
    if first is not None and how == ERROR:
        problem = f"{count} of {values.size} values of {table.where} are missing, NaN or infinite"
        hint = "give --impute zero, drop-genes or drop-cases"
        raise CohortError(f"{problem}; the first is {table.cell(*first)}", hint=hint)
    if not (cases.any() and genes.any()):
        raise CohortError(f"nothing is left of {table.where} after --impute {how}")
    return cases, genes, count


def without_columns(values: Values, kept: NDArray[np.bool_]) -> Values:
    """Keep some columns, in the memory of `values`, which must not be used afterwards."""
    if kept.all():
        return values
    return _in_place(values, int(kept.sum()), lambda block: block[:, kept])


def one_column_a_gene(values: Values, starts: NDArray[np.int64], *, how: str, scale: str) -> Values:
    """Combine neighbouring columns by sum or mean, on the linear scale.

    log2 and log1p values are taken as the logarithm of x + 1, which is undone and reapplied.

    Parameters
    ----------
    values
        Shape (case, column); must not be used afterwards.
    starts
        First column of each gene.
    how
        `sum` or `mean`.
    scale
        Scale of the values.

    Returns
    -------
    Shape (case, gene), in the memory of `values`.

    Raises
    ------
    CohortError
        If the scale cannot be converted to linear.
    """
    to_linear, back = _conversions(scale, f"--duplicate-genes {how}")
    lengths = np.diff([*starts.tolist(), values.shape[1]])
    divisors = lengths if how == MEAN else np.ones(len(starts))
    single = lengths == 1

    def combined(block: Values) -> Values:
        sums = np.add.reduceat(to_linear(block), starts, axis=1)
        result = back(sums / divisors).astype(np.float32)
        result[:, single] = block[:, starts[single]]
        return result

    return _in_place(values, len(starts), combined)


def one_row_a_case(values: Values, starts: NDArray[np.int64], *, scale: str) -> Values:
    """Average neighbouring rows, on the linear scale.

    Parameters
    ----------
    values
        Shape (sample, gene).
    starts
        First row of each case.
    scale
        Scale of the values.

    Returns
    -------
    Shape (case, gene).

    Raises
    ------
    CohortError
        If the scale cannot be converted to linear.
    """
    to_linear, back = _conversions(scale, "--duplicate-cases mean")
    bounds = [*starts.tolist(), values.shape[0]]
    for case, (first, last) in enumerate(pairwise(bounds)):
        if last - first == 1:
            values[case] = values[first]
        else:
            values[case] = back(to_linear(values[first:last]).mean(axis=0))
    return values[: len(starts)]


def _in_place(values: Values, width: int, change: Callable[[Values], Values]) -> Values:
    """Narrow a matrix in its own memory; a result never overwrites rows not yet processed."""
    flat = values.reshape(-1)
    for rows in row_blocks(values):
        narrow = change(values[rows])
        flat[rows.start * width : rows.stop * width] = narrow.reshape(-1)
    return flat[: values.shape[0] * width].reshape(values.shape[0], width)


Conversion = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def _conversions(scale: str, option: str) -> tuple[Conversion, Callable[..., NDArray[np.float64]]]:
    """Conversions from a scale to the linear one and back."""
    if scale in {COUNTS, *LINEAR}:
        return lambda x: x.astype(np.float64), lambda x: x
    if scale == _LOG2:
        return lambda x: np.exp2(x.astype(np.float64)) - 1, lambda x: np.log2(np.maximum(x, 0) + 1)
    if scale == _LOG1P:
        return lambda x: np.expm1(x.astype(np.float64)), lambda x: np.log1p(np.maximum(x, 0))
    known = "the base and offset of a 'log' are not known" if scale in LOGARITHMIC else "no values"
    problem = f"{option}: values on the scale {scale!r} cannot be added up ({known})"
    hint = "give --scale log2 or log1p if it is the logarithm of x + 1, or use first"
    raise CohortError(problem, hint=hint)
