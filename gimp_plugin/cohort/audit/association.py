"""How strongly a property that is not of the tumour is associated with the class.

Measured by Cramér's V with Bergsma's bias correction for a category, and by the AUC of one class
against the others for a number. Both come with the p-value of a permutation test, because small
cohorts show strong associations by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRONG_V = 0.3
STRONG_AUC = 0.7
CHANCE = 0.01
FEWEST_CASES = 20
N_PERMUTATIONS = 999
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Association:
    """Association of one property with the class.

    Parameters
    ----------
    measure
        `V` or `AUC`.
    value
        Its value; an AUC is the probability that a case of `class_name` has the larger number.
    p_value
        Share of 999 permutations of the classes that are at least as extreme.
    n
        Number of cases with both the property and a class.
    class_name
        Class that the AUC is about.
    """

    measure: str
    value: float
    p_value: float
    n: int
    class_name: str = ""

    @property
    def strong(self) -> bool:
        """Whether it is strong, and stronger than chance explains in a cohort of this size."""
        if self.n < FEWEST_CASES or self.p_value >= CHANCE:
            return False
        if self.measure == "V":
            return self.value > STRONG_V
        return not 1 - STRONG_AUC <= self.value <= STRONG_AUC

    def __str__(self) -> str:
        """Give the measure, its value, n and p."""
        of = f" of {self.class_name}" if self.class_name else ""
        name = "Cramér's V" if self.measure == "V" else f"AUC{of}"
        how = f"n={self.n:,}, permutation p={self.p_value:.3g}"
        how = f"bias-corrected, {how}" if self.measure == "V" else how
        return f"{name} {self.value:.2f} ({how})"


def cramers_v(table: NDArray[np.float64]) -> float:
    """Cramér's V of a table of counts, corrected for bias (Bergsma, 2013).

    Parameters
    ----------
    table
        Counts, shape (category, class); rows and columns of zeros are ignored.

    Returns
    -------
    0 (independent) to 1; also 0 if either side has only one value.

    Examples
    --------
    >>> cramers_v(np.array([[30.0, 0.0], [0.0, 30.0]]))
    1.0
    >>> cramers_v(np.array([[15.0, 15.0], [15.0, 15.0]]))
    0.0
    """
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    n, (r, k) = float(table.sum()), table.shape
    if n < 2 or min(r, k) < 2:
        return 0.0
    phi2 = float(_chi2(table[None])[0]) / n
    corrected = max(0.0, phi2 - (k - 1) * (r - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)
    least = min(rows - 1, columns - 1)
    return float(min(1.0, np.sqrt(corrected / least))) if least > 0 else 0.0


def of_category(categories: Sequence[object], labels: Sequence[object]) -> Association:
    """Association of a category with the class, over the cases that have both."""
    pairs = [(a, b) for a, b in zip(categories, labels, strict=True) if a is not None and b]
    rows, n_rows = _coded([a for a, _ in pairs])
    classes, n_classes = _coded([b for _, b in pairs])
    table = _tables(rows, classes[None], n_rows, n_classes)[0]
    value = cramers_v(table)
    if min(n_rows, n_classes) < 2:
        return Association(measure="V", value=0.0, p_value=1.0, n=len(pairs))
    drawn = _chi2(_tables(rows, _permuted(classes), n_rows, n_classes))
    p_value = _share_as_extreme(drawn, float(_chi2(table[None])[0]))
    return Association(measure="V", value=value, p_value=p_value, n=len(pairs))


def of_number(numbers: Sequence[float | None], labels: Sequence[object]) -> Association:
    """Association of a number with the class: the most extreme one-against-rest AUC."""
    from scipy.stats import rankdata

    pairs = [(a, b) for a, b in zip(numbers, labels, strict=True) if a is not None and b]
    classes, n_classes = _coded([b for _, b in pairs])
    n = len(pairs)
    if n_classes < 2:
        return Association(measure="AUC", value=0.5, p_value=1.0, n=n)
    ranks = rankdata(np.array([a for a, _ in pairs], dtype=float))
    aucs = _aucs(ranks, classes[None], n_classes)[0]
    if n_classes == 2:
        aucs = aucs[1:]
    worst = int(np.abs(aucs - 0.5).argmax())
    drawn = np.abs(_aucs(ranks, _permuted(classes), n_classes) - 0.5).max(axis=1)
    names = sorted({str(b) for _, b in pairs})
    return Association(
        measure="AUC",
        value=float(aucs[worst]),
        p_value=_share_as_extreme(drawn, float(np.abs(aucs[worst] - 0.5))),
        n=n,
        class_name=names[-1] if n_classes == 2 else names[worst],
    )


def table_of(categories: Sequence[object], labels: Sequence[object]) -> dict[str, dict[str, int]]:
    """Count the cases of each class for each category."""
    found: dict[str, dict[str, int]] = {}
    for category, label in zip(categories, labels, strict=True):
        if category is not None and label:
            row = found.setdefault(str(category), {})
            row[str(label)] = row.get(str(label), 0) + 1
    return {name: dict(sorted(found[name].items())) for name in sorted(found)}


def _coded(values: Sequence[object]) -> tuple[NDArray[np.int64], int]:
    """Number the values, in the order of their names."""
    names = sorted({str(value) for value in values})
    place = {name: index for index, name in enumerate(names)}
    return np.array([place[str(value)] for value in values], dtype=np.int64), len(names)


def _permuted(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draw permutations of the classes, one per row."""
    drawn = np.tile(classes, (N_PERMUTATIONS, 1))
    return np.random.default_rng(_SEED).permuted(drawn, axis=1)


def _tables(
    rows: NDArray[np.int64], classes: NDArray[np.int64], n_rows: int, n_classes: int
) -> NDArray[np.float64]:
    """Tables of counts, one for each row of `classes`."""
    n_tables = len(classes)
    size = n_rows * n_classes
    flat = rows[None] * n_classes + classes + size * np.arange(n_tables)[:, None]
    counts = np.bincount(flat.ravel(), minlength=size * n_tables)
    return counts.reshape(n_tables, n_rows, n_classes).astype(float)


def _chi2(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's statistic of tables without empty rows and columns."""
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    expected = rows[:, :, None] * columns[:, None, :] / tables.sum(axis=(1, 2))[:, None, None]
    return np.asarray(((tables - expected) ** 2 / expected).sum(axis=(1, 2)))


def _aucs(
    ranks: NDArray[np.float64], classes: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """AUC of each class against the others, for each row of `classes`."""
    found = np.empty((len(classes), n_classes))
    for label in range(n_classes):
        members = classes == label
        n = int(members[0].sum())
        excess = members @ ranks - n * (n + 1) / 2
        found[:, label] = excess / (n * (len(ranks) - n))
    return found


def _share_as_extreme(drawn: NDArray[np.float64], seen: float) -> float:
    """p-value of a permutation test; the data count as one of the permutations."""
    return float((1 + (drawn >= seen - 1e-9).sum()) / (1 + len(drawn)))
