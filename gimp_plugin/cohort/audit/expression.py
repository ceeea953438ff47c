"""Checks of the expression values and their scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit.association import FEWEST_CASES, of_number
from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.scales import (
    LINEAR_FLOOR,
    LOG_CEILING,
    LOGARITHMIC,
    SCALES,
    STANDARDISED,
    row_blocks,
)
from gimp_plugin.cohort.values import Table, doubts_of_scale, resolve_scale
from gimp_plugin.errors import CohortError, counted, did_you_mean

FINITE, SCALE, ONE_SCALE = "finite values", "scale", "cases on one scale"
SILENT, LIBRARY, LEVEL = "silent cases", "library size", "expression level = label"
_MANY_GENES = 20
_OUTLYING = 7.0
_LEAST_FACTOR = 2.0
_TELLING_AUC = 0.95
_MOST_GENES = 0.8


def check_finite(subject: Subject) -> Finding:
    """Look for NaN and infinite values."""
    cases = np.zeros(len(subject.case_ids), dtype=np.int64)
    first: tuple[int, int] | None = None
    for genes, block in subject.blocks(~subject.finite_genes):
        bad = ~np.isfinite(block)
        cases += bad.sum(axis=1)
        case, gene = int(bad.any(axis=1).argmax()), 0
        gene = int(genes[bad[case].argmax()])
        if first is None or (case, gene) < first:
            first = (case, gene)
    if first is None:
        return ok(FINITE, f"all of {subject.values.size:,} values")
    n_bad, n_cases = int(cases.sum()), int((cases > 0).sum())
    n_genes = int((~subject.finite_genes).sum())
    return finding(
        FINITE,
        f"{counted(n_bad, 'value')} NaN or infinite, in {counted(n_cases, 'case')} and "
        f"{counted(n_genes, 'gene')}; the first is of case {subject.case_ids[first[0]]!r}, gene "
        f"{subject.gene_ids[first[1]]!r}",
        why="training and prediction refuse such a table; the other checks leave these genes out",
        remedy="leave out these genes or cases, or fill the gaps (gimp import-genes --impute)",
        n_values=n_bad,
        n_cases=n_cases,
        n_genes=n_genes,
    )


def check_scale(subject: Subject) -> Finding:
    """Compare the values with the declared scale, or else guess their scale."""
    why = "the transform of the values depends on their scale; a wrong one spoils every gene"
    declared = subject.declared
    if declared is not None and declared not in SCALES:
        found = f"the file declares the unknown scale {declared!r}{did_you_mean(declared, SCALES)}"
        return finding(SCALE, found, why=why, remedy=f"declare one of {', '.join(SCALES)}")
    if not subject.finite_genes.any():
        return skipped(SCALE, "no gene has finite values only")
    genes = np.flatnonzero(subject.finite_genes)
    whole = len(genes) == len(subject.gene_ids)
    table = Table(
        values=subject.values if whole else subject.values[:, genes],
        case_ids=subject.case_ids,
        gene_ids=[subject.gene_ids[gene] for gene in genes],
        where=subject.name,
    )
    try:
        scale = resolve_scale(table, None)[0] if declared is None else declared
        doubts = doubts_of_scale(table, declared) if declared is not None else []
    except CohortError as error:
        n_below = sum(int((block < 0).sum()) for _, block in subject.blocks(subject.finite_genes))
        count = f" ({counted(n_below, 'value')} below 0)" if n_below else ""
        found, remedy = f"{error.problem}{count}", error.hint or ""
        return finding(SCALE, found, why=why, remedy=remedy, n_negative=n_below, declared=declared)
    if declared is None:
        found = f"looks like {scale}, not declared (use --scale, or gimp import-genes --scale)"
        return ok(SCALE, found, scale=scale, declared=None)
    if doubts:
        doubt, remedy = doubts[0]
        return finding(SCALE, doubt, why=why, remedy=remedy, scale=scale, declared=declared)
    return ok(SCALE, f"{scale}, as declared", scale=scale, declared=declared)


def check_one_scale(subject: Subject) -> Finding:
    """Look for cases on a different scale: linear among logarithmic ones, or not standardised."""
    low, high = _extremes(subject)
    usual = float(np.median(high))
    if usual <= LOG_CEILING:
        odd = np.flatnonzero(high > LINEAR_FLOOR)
        kind = f"above {LINEAR_FLOOR:g}, where half of the cases stay below {usual:.3g}"
    elif usual > LINEAR_FLOOR:
        odd = np.flatnonzero((high <= LOG_CEILING) & (high > 0))
        kind = f"of at most {LOG_CEILING:g}, where half of the cases exceed {usual:.3g}"
    else:
        odd, kind = np.array([], dtype=np.int64), ""
    what = "have a maximum"
    if not len(odd) and (low < 0).mean() > 0.5 and subject.finite_genes.sum() >= _MANY_GENES:
        odd, what, kind = np.flatnonzero(low >= 0), "have no negative value", "where most have some"
    if not len(odd):
        return ok(ONE_SCALE, f"maxima of the cases from {high.min():.3g} to {high.max():.3g}")
    names = _names(subject, odd)
    return finding(
        ONE_SCALE,
        f"{counted(len(odd), 'case')} {what} {kind}: {named(names)}",
        why="cases of two scales in one table differ in every gene, whatever their tissue",
        remedy="bring all cases to one scale before joining them, or leave these out",
        cases=names[:100],
    )


def check_silent(subject: Subject) -> Finding:
    """Look for cases that are 0 in every gene."""
    silent = [
        rows.start + int(row)
        for rows in row_blocks(subject.values)
        for row in np.flatnonzero(~subject.values[rows].any(axis=1))
    ]
    if not silent:
        return ok(SILENT, "none")
    names = _names(subject, silent)
    return finding(
        SILENT,
        f"{counted(len(silent), 'case')} with 0 in every gene: {named(names)}",
        why="an empty profile means that the measurement failed, and tells nothing of the tumour",
        remedy="leave the case out",
        cases=names[:100],
    )


def check_library(subject: Subject) -> Finding:
    """Look for cases whose total (mean, on a log scale) is far from that of the others."""
    sizes = _sizes(subject)
    if sizes is None:
        return skipped(LIBRARY, "the values are standardised")
    alive = np.isfinite(sizes.logs)
    if alive.sum() < _MANY_GENES:
        return skipped(LIBRARY, f"fewer than {_MANY_GENES} cases")
    odd = np.flatnonzero(alive & _outlying(sizes.logs, alive, least=np.log2(_LEAST_FACTOR)))
    shown = sizes.values[alive]
    span = f"{sizes.word}s of the cases from {shown.min():.4g} to {shown.max():.4g}"
    if not len(odd):
        return ok(LIBRARY, span)
    names = _names(subject, odd)
    return finding(
        LIBRARY,
        f"{counted(len(odd), 'case')} with an outlying {sizes.word}: {named(names)} ({span})",
        why="a case that is low or high in all genes was measured differently from the others",
        remedy="look at the quality of these samples, and leave them out if it is poor",
        cases=names[:100],
    )


def check_level(subject: Subject) -> Finding:
    """Look for a class whose cases have higher, or lower, totals than all others.

    A factor or a different base of the logarithm shifts every gene of a case. If only some classes
    have it, the totals (means, on a log scale) reveal the class.

    Returns
    -------
    The verdict. It is a finding if the AUC of a class is above .95 or below .05 and at least 80 %
    of the varying genes are higher, or lower, in that class; a few strong genes may be biology.
    """
    if subject.labels is None:
        return skipped(LEVEL, f"obs has no column {subject.label_key!r}")
    sizes = _sizes(subject)
    if sizes is None:
        return skipped(LEVEL, "the values are standardised")
    alive = np.isfinite(sizes.logs)
    seen = of_number(sizes.logs[alive].tolist(), subject.labels[alive].tolist())
    if seen.n < FEWEST_CASES:
        return skipped(LEVEL, f"only {counted(seen.n, 'case')}, fewer than {FEWEST_CASES}")
    if not seen.class_name:
        return skipped(LEVEL, "the cases have one class only")
    labelled = alive & np.array([label is not None for label in subject.labels])
    own = labelled & (subject.labels == seen.class_name)
    share = _share_higher(subject, own, labelled & ~own)
    found = f"{seen} by the {sizes.word} of a case; {share:.0%} of the genes are higher in it"
    numbers = {"value": seen.value, "p_value": seen.p_value, "n": seen.n, "genes_higher": share}
    telling = 1 - seen.value > _TELLING_AUC if share < 0.5 else seen.value > _TELLING_AUC
    if not (seen.strong and telling and max(share, 1 - share) >= _MOST_GENES):
        return ok(LEVEL, found, **numbers)
    return finding(
        LEVEL,
        found,
        why="where all genes of a class are higher or lower, it was scaled differently, or has "
        "another logarithm, and any model tells it by that (unless the genes were chosen for it)",
        remedy="bring the counts of all cases to one scale together (gimp import-genes)",
        **numbers,
    )


def _share_higher(subject: Subject, own: NDArray[np.bool_], others: NDArray[np.bool_]) -> float:
    """Share of the varying genes whose mean is higher in a class than in the other cases."""
    higher = [
        np.log1p(block[own]).mean(axis=0) > np.log1p(block[others]).mean(axis=0)
        for _, block in subject.blocks(subject.varying_genes)
    ]
    return float(np.concatenate(higher).mean()) if higher else 0.5


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Total of each case, or its mean on a log scale, and the logarithm; -inf for an empty case."""

    word: str
    values: NDArray[np.float64]
    logs: NDArray[np.float64]


def _sizes(subject: Subject) -> _Sizes | None:
    """Total expression of each case; None for standardised values."""
    totals = np.zeros(len(subject.case_ids))
    below = 0
    for _, block in subject.blocks(subject.finite_genes):
        totals += block.sum(axis=1, dtype=np.float64)
        below += int((block < 0).sum())
    if below or subject.declared == STANDARDISED:
        return None
    means = totals / max(1, int(subject.finite_genes.sum()))
    logarithmic = subject.declared in LOGARITHMIC or float(_extremes(subject)[1].max()) <= 50
    logs = np.full(len(means), -np.inf)
    alive = totals > 0
    logs[alive] = means[alive] if logarithmic else np.log2(means[alive])
    return _Sizes("mean", means, logs) if logarithmic else _Sizes("total", totals, logs)


def _outlying(
    sizes: NDArray[np.float64], alive: NDArray[np.bool_], *, least: float
) -> NDArray[np.bool_]:
    """Cases more than 7 robust standard deviations, and a factor of two, from the median."""
    middle = np.median(sizes[alive])
    spread = 1.4826 * float(np.median(np.abs(sizes[alive] - middle)))
    return np.asarray(np.abs(sizes - middle) > max(least, _OUTLYING * spread))


def _extremes(subject: Subject) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest finite value of each case, 0 if it has none."""
    n_cases = len(subject.case_ids)
    low, high = np.empty(n_cases, dtype=np.float32), np.empty(n_cases, dtype=np.float32)
    for rows in row_blocks(subject.values):
        block = subject.values[rows]
        finite = np.isfinite(block)
        low[rows] = np.where(finite, block, np.inf).min(axis=1)
        high[rows] = np.where(finite, block, -np.inf).max(axis=1)
    empty = ~np.isfinite(low)
    low[empty], high[empty] = 0, 0
    return low, high


def _names(subject: Subject, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
    """Names of some cases."""
    return [subject.case_ids[row] for row in rows]
