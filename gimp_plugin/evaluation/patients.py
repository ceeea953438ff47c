"""Patients to evaluate, with a true class and predicted probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import EvaluationError, counted, listed
from gimp_plugin.storage.predictions import Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Patients:
    """Labelled patients, one row each; for repeated partitions, one row per patient and fold.

    Parameters
    ----------
    case_ids
        The patients.
    classes
        Class names; of two, the second is the positive class.
    labels, predicted
        True and predicted class of each patient, as indices; predicted is -1 without an answer.
    probabilities
        Shape (case, class).
    folds
        Fold that each patient was predicted in.
    modalities
        Halves that each prediction was made from.
    """

    case_ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    folds: tuple[str, ...]
    modalities: tuple[str, ...]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.case_ids)

    @property
    def n_patients(self) -> int:
        """Number of patients, each counted once."""
        return len(set(map(same_case, self.case_ids)))

    @property
    def fold_names(self) -> tuple[str, ...]:
        """Folds, in the order of their first patient."""
        return tuple(dict.fromkeys(self.folds))

    def of_fold(self, name: str) -> NDArray[np.bool_]:
        """Tell which rows belong to a fold."""
        return np.array([fold == name for fold in self.folds])

    def where(self, chosen: Sequence[bool] | NDArray[np.bool_]) -> Self:
        """Select rows by a mask."""
        return self.at(np.flatnonzero(chosen))

    def at(self, rows: NDArray[np.int64]) -> Self:
        """Select rows by index, in the given order."""
        return type(self)(
            case_ids=tuple(self.case_ids[row] for row in rows),
            classes=self.classes,
            labels=self.labels[rows],
            predicted=self.predicted[rows],
            probabilities=self.probabilities[rows],
            folds=tuple(self.folds[row] for row in rows),
            modalities=tuple(self.modalities[row] for row in rows),
        )


def select(table: Predictions, part: str) -> tuple[Patients, frozenset[str]]:
    """Select the labelled patients of one part; several rows of one patient are averaged.

    Parameters
    ----------
    table
        The predictions.
    part
        `test`, `new`, `train` or `val`.

    Returns
    -------
    The patients, and the cases left out because they have no label.
    """
    within = np.array([split == part for split in table.splits])
    labelled = within & (table.labels >= 0)
    rows = Patients(
        case_ids=table.case_ids,
        classes=table.classes,
        labels=table.labels,
        predicted=table.predicted,
        probabilities=table.probabilities,
        folds=table.folds,
        modalities=table.modalities,
    ).where(labelled)
    bare = np.flatnonzero(within & ~labelled)
    return averaged([rows]), frozenset(table.case_ids[row] for row in bare)


def together(parts: Sequence[Patients]) -> Patients:
    """Concatenate several sets of patients."""
    first = parts[0]
    return Patients(
        case_ids=tuple(case_id for one in parts for case_id in one.case_ids),
        classes=first.classes,
        labels=np.concatenate([one.labels for one in parts]),
        predicted=np.concatenate([one.predicted for one in parts]),
        probabilities=np.concatenate([one.probabilities for one in parts]),
        folds=tuple(fold for one in parts for fold in one.folds),
        modalities=tuple(modality for one in parts for modality in one.modalities),
    )


def averaged(parts: Sequence[Patients]) -> Patients:
    """Average the probabilities of rows that belong to one patient, over all the sets.

    A patient with one row keeps its predicted class. A patient with several rows gets the class
    with the highest mean probability, or none if any of the rows has none. TCGA patients are
    identified by the first 12 characters of their name.

    Parameters
    ----------
    parts
        Sets of rows, for instance one per seed.

    Returns
    -------
    Each patient once, in the order of the first row.

    Raises
    ------
    EvaluationError
        If two rows of a patient have different labels or folds.
    """
    rows = together(parts)
    row_of: dict[str, int] = {}
    owner = np.array(
        [row_of.setdefault(same_case(case_id), len(row_of)) for case_id in rows.case_ids], dtype=int
    )
    firsts = np.unique(owner, return_index=True)[1]
    if len(firsts) == len(rows):
        return rows
    _check_agreement(rows, owner, firsts)
    sizes = np.bincount(owner)
    unanswered = np.bincount(owner, weights=rows.predicted < 0) > 0
    means = np.zeros((len(firsts), len(rows.classes)))
    np.add.at(means, owner, rows.probabilities)
    means /= sizes[:, None]
    return Patients(
        case_ids=tuple(rows.case_ids[first] for first in firsts),
        classes=rows.classes,
        labels=rows.labels[firsts],
        predicted=np.where(
            unanswered, -1, np.where(sizes > 1, means.argmax(axis=1), rows.predicted[firsts])
        ),
        probabilities=means,
        folds=tuple(rows.folds[first] for first in firsts),
        modalities=tuple(
            _union([rows.modalities[row] for row in np.flatnonzero(owner == patient)])
            for patient in range(len(firsts))
        ),
    )


def _check_agreement(rows: Patients, owner: NDArray[np.int64], firsts: NDArray[np.int64]) -> None:
    """Refuse rows of one patient that contradict each other."""
    folds = np.array(rows.folds)
    for what, values in (("labels", rows.labels), ("folds", folds)):
        differ = values != values[firsts][owner]
        if differ.any():
            cases = dict.fromkeys(rows.case_ids[row] for row in np.flatnonzero(differ))
            raise EvaluationError(
                f"{counted(len(cases), 'case')} with different {what} in different rows: "
                f"{listed(cases)}"
            )


def _union(modalities: Sequence[str]) -> str:
    """Halves that any of several predictions was made from."""
    distinct = set(modalities)
    return modalities[0] if len(distinct) == 1 else keys.BOTH
