"""Check expression values, and determine their scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.scales import (
    LINEAR_FLOOR,
    LOG_CEILING,
    LOGARITHMIC,
    NON_NEGATIVE,
    SCALES,
    STANDARDISED,
    guess_scale,
    is_whole,
    row_blocks,
)
from gimp_plugin.errors import CohortError, counted, listed

CENTRED, FEWEST_CENTRED = 1e-3, 10
"""Largest mean of a gene in a centred cohort; the check needs more cases than the second number."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """Values with the names of their rows, columns and source."""

    values: NDArray[np.float32]
    case_ids: Sequence[str]
    gene_ids: Sequence[str]
    where: str

    def cell(self, case: int, gene: int) -> str:
        """Name one value for a message."""
        value = float(self.values[case, gene])
        return f"{value:g} of case {self.case_ids[case]!r}, gene {self.gene_ids[gene]!r}"


def check_finite(table: Table) -> None:
    """Refuse NaN and infinite values.

    Raises
    ------
    CohortError
        If there are any; the message gives their number, and the case and gene of the first.
    """
    count, first = 0, None
    for rows in row_blocks(table.values):
        bad = ~np.isfinite(table.values[rows])
        if first is None and bad.any():
            case, gene = np.unravel_index(int(bad.argmax()), bad.shape)
            first = (rows.start + int(case), int(gene))
        count += int(bad.sum())
    if first is not None:
        problem = f"{count} of {table.values.size} values in {table.where} are NaN or infinite"
        raise CohortError(
            f"{problem}; the first is {table.cell(*first)}",
            hint="leave the gene or the case out, or fill it: gimp import-genes --impute",
        )


def resolve_scale(table: Table, declared: str | None) -> tuple[str, list[str]]:
    """Determine the scale of the values: the declared one, else a guess.

    Parameters
    ----------
    table
        Finite values.
    declared
        Scale that the user or the file names, if any.

    Returns
    -------
    The scale, and warnings for the user.

    Raises
    ------
    CohortError
        If the values are impossible on the declared scale; if there is none and the values look
        standardised, or no guess is safe.
    """
    warnings = _silent_cases(table)
    if declared is not None:
        doubts = [f"{doubt} ({remedy})" for doubt, remedy in doubts_of_scale(table, declared)]
        return declared, [*doubts, *warnings]
    scale = guess_scale(table.values, where=table.where)
    if scale == STANDARDISED:
        case, gene = _extreme(table, lowest=True)
        problem = f"{table.where} has negative values ({table.cell(case, gene)}), so it looks"
        raise CohortError(
            f"{problem} standardised, but it is not declared as such",
            hint=f"give --scale {STANDARDISED}, or --scale log if it is on a log scale",
        )
    guess = f"{table.where} does not declare its scale; guessed {scale!r} from a maximum of"
    return scale, [f"{guess} {float(table.values.max()):g} (declare it with --scale)", *warnings]


def doubts_of_scale(table: Table, scale: str) -> list[tuple[str, str]]:
    """Refuse values impossible on the declared scale, and say why others are unlikely.

    Parameters
    ----------
    table
        Finite values.
    scale
        Scale that the user or the file names.

    Returns
    -------
    What is unlikely, and what to do about it.

    Raises
    ------
    CohortError
        If a value is impossible on that scale.
    """
    low, high = _extreme(table, lowest=True), _extreme(table, lowest=False)
    if scale in NON_NEGATIVE and table.values[low] < 0:
        problem = f"{table.where} is declared as {scale!r}, but has {table.cell(*low)}"
        raise CohortError(problem, hint=f"declare the scale it is on, one of {', '.join(SCALES)}")
    if scale in LOGARITHMIC and table.values[high] > LINEAR_FLOOR:
        problem = f"{table.where} is declared as {scale!r}, but looks linear: {table.cell(*high)}"
        raise CohortError(problem, hint="declare the scale it is on, for instance fpkm or counts")
    if scale in LOGARITHMIC and table.values[low] < 0 and _is_centred(table.values):
        was = "the mean of every gene is 0: was it scaled since (sc.pp.scale)?"
        hint = f"use a layer that was not scaled, or declare this one as {STANDARDISED!r}"
        return [(f"{table.where} is declared as {scale!r}, but {was}", hint)]
    low_linear = scale in NON_NEGATIVE and 0 < table.values[high] <= LOG_CEILING
    if low_linear and not is_whole(table.values):
        only = f"its maximum is only {float(table.values[high]):g}"
        doubt = f"{table.where} is declared as {scale!r}, but {only}: is it logged already?"
        return [(doubt, "declare the scale it is on, for instance --scale log")]
    return []


def _is_centred(values: NDArray[np.float32]) -> bool:
    """Whether every gene has mean 0, as after standardising; False for too few cases."""
    means = np.abs(values.mean(axis=0, dtype=np.float64))
    return len(values) > FEWEST_CENTRED and bool((means < CENTRED).all())


def _silent_cases(table: Table) -> list[str]:
    """Warn of cases whose values are all 0."""
    any_values = np.asarray(table.values.any(axis=1)).tolist()
    silent = [
        case_id
        for case_id, any_value in zip(table.case_ids, any_values, strict=True)
        if not any_value
    ]
    if not silent:
        return []
    told = counted(len(silent), "case")
    return [f"{told} of {table.where} with the value 0 for every gene: {listed(silent)}"]


def _extreme(table: Table, *, lowest: bool) -> tuple[int, int]:
    """Place of the lowest or the highest value."""
    flat = table.values.argmin() if lowest else table.values.argmax()
    case, gene = np.unravel_index(int(flat), table.values.shape)
    return int(case), int(gene)
