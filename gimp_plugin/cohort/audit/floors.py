"""Floors that differ between groups, a trace of zeros that were standardised within groups.

A gene that is not expressed is 0 in many cases. If all cases are standardised together, these zeros
remain one value; if each group is standardised separately, they become a constant of the group, and
two thresholds on one gene then identify the group. A gene counts if at least two groups have a
floor of their own: a lowest value shared by several cases, at least twice as frequent as any other
value of the group, that differs from the other group's floor and hardly occurs there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.groups import Grouping
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.errors import counted

CHECK = "floors that differ between groups"
LEAST_TIES = 3
TIED_SHARE = 0.05
_SAME = 1e-6
_STRAYS, _STRAYS_A_TIE = 0.01, 0.1
_STANDS_OUT = 2
_CHANCE = 0.01
_SHARE_OF_FLOORS = 0.2
_FEWEST = 3

WHY = (
    "the lowest value of a gene tells the group by itself, so that a model learns how the table "
    "was made, not the tumour; this happens when zeros are standardised within a group"
)
REMEDY = (
    "go back to the table before it was standardised within the groups; do not report results "
    "made on this one"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Floors:
    """Floors of one division of the cases.

    Parameters
    ----------
    n_floored
        Genes with a floor in at least two groups.
    genes
        Genes whose floors differ, the one with the best rule first.
    told
        Number of cases on a floor of their own group, for each of these genes.
    chance
        Probability that equal values fall into the groups in this way by chance, shape (gene, 2):
        for these values and groups, and a bound for any.
    accuracy
        Accuracy of the rule on the best gene.
    baseline
        Accuracy of always naming the largest group.
    decided
        Share of the cases whose group at least one of the genes reveals.
    """

    n_floored: int
    genes: tuple[str, ...]
    told: tuple[int, ...]
    chance: NDArray[np.float64]
    accuracy: float
    baseline: float
    decided: float


def check_floors(subject: Subject, groupings: list[Grouping]) -> Finding:
    """Look for more genes whose floor differs between groups than chance explains.

    Returns
    -------
    One verdict over all divisions of the cases.
    """
    if not groupings:
        return skipped(CHECK, "no column of obs makes two groups of 5 cases")
    n_tried = max(1, int(subject.varying_genes.sum())) * len(groupings)
    seen = [(grouping, floors_of(subject, grouping)) for grouping in groupings]
    numbers = {grouping.title: _numbers(floors) for grouping, floors in seen}
    hits = [(grouping, floors) for grouping, floors in seen if _beyond_chance(floors, n_tried)]
    if hits:
        found = _told(*hits[0])
        if hits[1:]:  # divisions associated with the first show its floors, too
            others = [
                f"{each.columns[0]} ({len(floors.genes):,} genes)" for each, floors in hits[1:]
            ]
            found += f"; also by {named(others)}"
        return finding(CHECK, found, why=WHY, remedy=REMEDY, groupings=numbers)
    floored = max(floors.n_floored for _, floors in seen)
    text = f"{counted(floored, 'gene')} with a floor in two groups"
    differ = max(len(floors.genes) for _, floors in seen)
    return ok(CHECK, f"{text}, {differ} of them with floors that differ", groupings=numbers)


def floors_of(subject: Subject, grouping: Grouping) -> Floors:
    """Find the genes whose floor differs between the groups of one division."""
    least = np.maximum(LEAST_TIES, np.ceil(TIED_SHARE * grouping.sizes)).astype(np.int64)
    order = np.argsort(grouping.member, kind="stable")
    starts = np.concatenate([[0], np.cumsum(grouping.sizes)[:-1]])
    member = grouping.member[order]
    decided = np.zeros(len(member), dtype=bool)
    n_floored = 0
    rows: list[tuple[int, str, tuple[float, float], float]] = []
    for genes, block in subject.blocks(subject.varying_genes):
        values = block[order]
        low = np.minimum.reduceat(values, starts, axis=0)
        same = (_SAME * np.ptp(values, axis=0)).astype(np.float32)
        at_floor = values <= (low + same)[member]
        ties = np.add.reduceat(at_floor, starts, axis=0, dtype=np.int64)
        floored = (ties >= least[:, None]) & grouping.large[:, None]
        n_floored += int((floored.sum(axis=0) >= 2).sum())
        for column in np.flatnonzero(_spread(low, floored) > same):
            own = _own_floors(
                values[:, column],
                low[:, column],
                same[column],
                member,
                np.where(floored[:, column], ties[:, column], 0),
            )
            if own.sum() < 2:
                continue
            told = at_floor[:, column] & own[member]
            decided |= told
            chance = _chance(
                values[:, column], low[:, column], ties[:, column], grouping.sizes, own
            )
            name = subject.gene_ids[genes[column]]
            rows.append((int(told.sum()), name, chance, _accuracy(told, member)))
    rows.sort(key=lambda row: (-row[3], row[1]))
    return Floors(
        n_floored=n_floored,
        genes=tuple(row[1] for row in rows),
        told=tuple(row[0] for row in rows),
        chance=np.array([row[2] for row in rows]).reshape(-1, 2),
        accuracy=rows[0][3] if rows else 0.0,
        baseline=float(grouping.sizes.max() / grouping.sizes.sum()),
        decided=float(decided.mean()),
    )


def _spread(low: NDArray[np.float32], floored: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance from the lowest to the highest floor of each gene, 0 for fewer than two floors."""
    highest = np.where(floored, low, -np.inf).max(axis=0)
    lowest = np.where(floored, low, np.inf).min(axis=0)
    return np.where(floored.sum(axis=0) >= 2, highest - lowest, 0.0)


def _own_floors(
    values: NDArray[np.float32],
    low: NDArray[np.float32],
    same: np.float32,
    member: NDArray[np.int64],
    ties: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Groups whose floor hardly occurs in groups with another floor; none if all floors agree."""
    own = np.zeros(len(low), dtype=bool)
    for group in np.flatnonzero(ties):
        elsewhere = np.abs(low - low[group]) > same
        others = values[elsewhere[member]]
        strays = int((np.abs(others - low[group]) <= same).sum())
        few = strays <= min(_STRAYS * len(others), _STRAYS_A_TIE * int(ties[group]))
        own[group] = few and _stands_out(values[member == group])
    levels = low[own]
    return own if len(levels) and np.ptp(levels) > same else np.zeros(len(low), dtype=bool)


def _stands_out(values: NDArray[np.float32]) -> bool:
    """Whether the lowest value is at least twice as frequent as any other."""
    counts = np.unique(values, return_counts=True)[1]
    return bool(counts[0] >= _STANDS_OUT * counts[1:].max(initial=0))


def _chance(
    values: NDArray[np.float32],
    low: NDArray[np.float32],
    ties: NDArray[np.int64],
    sizes: NDArray[np.int64],
    own: NDArray[np.bool_],
) -> tuple[float, float]:
    """Probability that the equal values of each floor all fall into the groups that have it.

    Returns
    -------
    The probability for these values and groups, and its bound for any tied values and groups.
    """
    from scipy.special import gammaln

    def choices(n: float, k: float) -> float:
        return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    tied = int((np.unique(values, return_counts=True)[1] >= LEAST_TIES).sum())
    chance, ways, left = 0.0, 0.0, float(sizes.sum())
    for level in np.unique(low[own]):  # groups that share a floor cannot be distinguished by it
        groups = own & (low == level)
        k = float(ties[groups].sum())
        chance += choices(float(sizes[groups].sum()), k) - choices(left, k)
        ways += np.log(tied) + choices(len(sizes), float(groups.sum()))
        left -= k
    return float(np.exp(chance)), float(np.exp(min(0.0, chance + ways)))


def _accuracy(told: NDArray[np.bool_], member: NDArray[np.int64]) -> float:
    """Accuracy of assigning cases on a floor to its group, all others to their commonest group."""
    rest = Counter(member[~told].tolist())
    commonest = max(rest.values(), default=0)
    return float((told.sum() + commonest) / len(member))


def _beyond_chance(floors: Floors, n_tried: int) -> bool:
    """Whether chance is unlikely to produce so many genes with differing floors."""
    if not floors.genes:
        return False
    these, best = floors.chance[:, 0], float(floors.chance[:, 1].min())
    unlikely = int((these < _CHANCE * 5).sum())
    many = unlikely >= max(_FEWEST, _SHARE_OF_FLOORS * floors.n_floored)
    return bool(many or best * n_tried < _CHANCE)


def _numbers(floors: Floors) -> dict[str, Any]:
    """All numbers, for programs."""
    return {
        "n_genes_with_floors": floors.n_floored,
        "n_genes": len(floors.genes),
        "genes": list(floors.genes[:100]),
        "stump_gene": floors.genes[0] if floors.genes else None,
        "stump_accuracy": floors.accuracy,
        "majority_accuracy": floors.baseline,
        "share_of_cases_decided": floors.decided,
    }


def _told(grouping: Grouping, floors: Floors) -> str:
    """Describe one division in words."""
    n_genes = counted(len(floors.genes), "gene")
    best = floors.genes[0]
    return (
        f"{grouping.title}: {n_genes} of {floors.n_floored:,} with floors ({named(floors.genes)}); "
        f"two thresholds on {best} tell the groups apart with an accuracy of {floors.accuracy:.1%} "
        f"(always the largest group: {floors.baseline:.1%}); {floors.decided:.1%} of the cases "
        "lie on a floor of their own group in at least one gene"
    )
