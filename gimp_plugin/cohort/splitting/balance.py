"""Balance of the classes between the parts of each fold, as numbers and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gimp_plugin.cohort.splitting.splits import Splits
from gimp_plugin.keys import PARTS, TEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """The test part and class that deviate most from the ideal share.

    Parameters
    ----------
    fold, label
        The fold, and the class in its test part.
    n_cases, ideal
        Number of cases of the class in the test part, and the ideal number.
    """

    fold: str
    label: str
    n_cases: int
    ideal: float

    @property
    def cases(self) -> float:
        """Distance from the ideal, in cases."""
        return abs(self.n_cases - self.ideal)


def class_counts(
    splits: Splits, labels: Mapping[str, str], sites: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Count the cases of each class in each part, and the sites where they are known.

    Parameters
    ----------
    splits
        One fold.
    labels
        Class by case id; cases without one count towards `n_cases` only.
    sites
        Site by case id.

    Returns
    -------
    `n_cases`, `classes` and, with sites, `n_sites` by part.
    """
    counts: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        members = splits.of(part)
        found = Counter(labels[case_id] for case_id in members if case_id in labels)
        counts[part] = {"n_cases": len(members), "classes": dict(sorted(found.items()))}
        if sites is not None:
            counts[part]["n_sites"] = len({sites[case_id] for case_id in members})
    return counts


def largest_deviation(
    folds: Sequence[Splits], labels: Mapping[str, str], *, test_share: float
) -> Deviation:
    """Find the test part and class that are furthest from their share.

    Parameters
    ----------
    folds
        The folds.
    labels
        Class by case id.
    test_share
        Share of each class that a test part should hold.

    Returns
    -------
    The largest deviation; the first of several equal ones.
    """
    totals = Counter(labels.values())
    found = (
        Deviation(
            fold=splits.fold,
            label=label,
            n_cases=sum(labels[case_id] == label for case_id in splits.of(TEST)),
            ideal=total * test_share,
        )
        for splits in folds
        for label, total in sorted(totals.items())
    )
    return max(found, key=lambda one: round(one.cases, 9))


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Class balance of folds, compared with plain stratified folds if sites were kept whole.

    Parameters
    ----------
    folds
        The folds.
    labels
        Class by case id; empty if no class is known.
    sites
        Site by case id, if sites were kept whole.
    plain
        Stratified folds of the same cases that ignore sites.
    test_share
        Share of each class that a test part should hold; 0 if not specified.
    n_unlabelled
        Number of training cases without a class by fold, in addition to the counted ones; empty if
        they are not used.
    """

    folds: Sequence[Splits]
    labels: Mapping[str, str]
    sites: Mapping[str, str] | None = None
    plain: Sequence[Splits] = ()
    test_share: float = 0.0
    n_unlabelled: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all counts, and the largest deviations."""
        found: dict[str, Any] = {
            "folds": [
                {"fold": one.fold, **class_counts(one, self.labels, self.sites)}
                for one in self.folds
            ]
        }
        for one in found["folds"] if self.n_unlabelled else ():
            one["train"]["n_unlabelled"] = self.n_unlabelled[one["fold"]]
        if self.test_share:
            found["largest_deviation"] = self._deviation(self.folds)
        if self.plain:
            found["plain"] = [
                {"fold": one.fold, **class_counts(one, self.labels, self.sites)}
                for one in self.plain
            ]
            found["largest_deviation_plain"] = self._deviation(self.plain)
        return found

    def to_markdown(self) -> str:
        """Return the table to print."""
        classes = sorted(set(self.labels.values()))
        heads = ["fold", *PARTS, *(["test, plain stratified"] if self.plain else [])]
        rows = [[one.fold, *self._cells(one)] for one in self.folds]
        for row, beside in zip(rows, self.plain, strict=False):
            row.append(self._cells(beside)[-1])
        lines = [heads, ["---"] * len(heads), *rows]
        table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
        unit = f"cases ({', '.join(classes)})" if classes else "cases"
        notes = [f"Each cell: {unit}{', sites' if self.sites is not None else ''}."]
        if self.n_unlabelled:
            fewest, most = min(self.n_unlabelled.values()), max(self.n_unlabelled.values())
            count = str(most) if fewest == most else f"{fewest} to {most}"
            notes.append(f"In addition, train has {count} cases without a class.")
        if self.test_share:
            notes.append(
                f"Largest deviation of a test part from its share: {self._said(self.folds)}"
            )
        if self.plain:
            notes.append(f"Plain stratified folds: {self._said(self.plain)}")
        return "\n".join([table, "", *notes]) + "\n"

    def _cells(self, splits: Splits) -> list[str]:
        """Cases, cases of each class and sites, by part."""
        classes = sorted(set(self.labels.values()))
        cells = []
        for counts in class_counts(splits, self.labels, self.sites).values():
            by_class = ", ".join(str(counts["classes"].get(label, 0)) for label in classes)
            cell = f"{counts['n_cases']} ({by_class})" if classes else str(counts["n_cases"])
            cells.append(f"{cell}, {counts['n_sites']} sites" if "n_sites" in counts else cell)
        return cells

    def _said(self, folds: Sequence[Splits]) -> str:
        """Largest deviation in words."""
        worst = largest_deviation(folds, self.labels, test_share=self.test_share)
        return (
            f"{worst.cases:.1f} cases of {worst.label!r} (fold {worst.fold}: {worst.n_cases}, "
            f"share {worst.ideal:.1f})."
        )

    def _deviation(self, folds: Sequence[Splits]) -> dict[str, Any]:
        """Largest deviation, for JSON."""
        worst = largest_deviation(folds, self.labels, test_share=self.test_share)
        return {**asdict(worst), "cases": round(worst.cases, 6)}
