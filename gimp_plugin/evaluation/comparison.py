"""Two systems on the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import EvaluationError, listed
from gimp_plugin.evaluation import metrics, statistics
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.result import Comparison


def compare(
    patients: Patients, others: Sequence[tuple[str, Patients]], *, seed: int
) -> tuple[Comparison, ...]:
    """Test one system against others, and adjust for the number of tests.

    Parameters
    ----------
    patients
        What the evaluated system predicts.
    others
        Name of each other system, and what it predicts for the same patients, as `aligned`.
    seed
        Of the permutations.

    Returns
    -------
    One comparison a system. Holm's adjustment counts all tests of the table, two a system.
    """
    found = [_compared(patients, name, other, seed=seed) for name, other in others]
    adjusted = statistics.holm([p for one in found for p in (one.accuracy_p, one.auc_p)])
    return tuple(
        replace(one, accuracy_p_holm=accuracy_p, auc_p_holm=auc_p)
        for one, accuracy_p, auc_p in zip(found, adjusted[::2], adjusted[1::2], strict=True)
    )


def _compared(patients: Patients, name: str, other: Patients, *, seed: int) -> Comparison:
    """Differences and tests, not yet adjusted."""
    right, other_right = (one.predicted == one.labels for one in (patients, other))
    difference, auc_p = statistics.swap_test(patients, other.probabilities, seed=seed)
    accuracy_p = statistics.mcnemar(right, other_right)
    return Comparison(
        other=name,
        accuracy=float(other_right.mean()),
        auc=float(metrics.auc(other, np.ones((1, len(other))))[0]),
        accuracy_difference=float(right.mean() - other_right.mean()),
        auc_difference=difference,
        accuracy_p=accuracy_p,
        auc_p=auc_p,
        accuracy_p_holm=accuracy_p,
        auc_p_holm=auc_p,
    )


def aligned(patients: Patients, name: str, other: Patients) -> Patients:
    """Give what another system predicts, in the order of the first.

    Parameters
    ----------
    patients
        What the evaluated system predicts.
    name
        Name of the other system, for the message.
    other
        What it predicts.

    Returns
    -------
    Its patients.

    Raises
    ------
    EvaluationError
        If patients, labels, classes or folds are not the same.
    """
    if other.classes != patients.classes:
        classes, others = listed(patients.classes), listed(other.classes)
        raise EvaluationError(f"{name!r} has the classes {others}, the evaluated {classes}")
    row_of = {same_case(case_id): row for row, case_id in enumerate(other.case_ids)}
    wanted = [same_case(case_id) for case_id in patients.case_ids]
    alone = sorted(row_of.keys() ^ set(wanted))
    if alone:
        problem = f"{name!r} and the evaluated predictions are not of the same patients"
        hint = "systems are compared on the same patients only"
        raise EvaluationError(
            f"{problem}: {len(alone)} stand in one only: {listed(alone)}", hint=hint
        )
    rows = np.array([row_of[case_id] for case_id in wanted])
    found = Patients(
        case_ids=patients.case_ids,
        classes=patients.classes,
        labels=other.labels[rows],
        predicted=other.predicted[rows],
        probabilities=other.probabilities[rows],
        folds=tuple(other.folds[row] for row in rows),
        modalities=tuple(other.modalities[row] for row in rows),
    )
    differ = np.flatnonzero(found.labels != patients.labels)
    if differ.size:
        cases = listed(patients.case_ids[row] for row in differ)
        raise EvaluationError(f"{name!r} has other labels for {differ.size} cases: {cases}")
    matches = set(zip(patients.folds, found.folds, strict=True))
    if not len(matches) == len(patients.fold_names) == len(found.fold_names):
        raise EvaluationError(f"{name!r} has its patients in other folds than the evaluated")
    return found
