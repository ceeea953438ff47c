"""Comparison of two systems on the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import EvaluationError, listed
from gimp_plugin.evaluation import metrics, statistics
from gimp_plugin.evaluation.gather import Gathered
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.result import Comparison

PATIENTS = "exact McNemar, swapped probabilities"
FOLDS = "corrected resampled t"
"""Tests of a comparison: over patients that are each predicted once, or over folds that share
patients."""


def compare(
    found: Gathered, others: Sequence[tuple[str, Gathered]], *, seed: int
) -> tuple[Comparison, ...]:
    """Test one system against others, and adjust for the number of tests.

    Parameters
    ----------
    found
        Predictions of the evaluated system.
    others
        Name and predictions of each other system, for the same patients, as returned by `aligned`.
    seed
        Seed of the permutations.

    Returns
    -------
    One comparison per system, over patients, or over folds for repeated partitions. Holm's
    adjustment counts all tests of the table, two per system.
    """
    tested = [
        _compared(found.patients, name, other.patients, seed=seed)
        if found.test_to_train is None or other.test_to_train is None
        else _resampled(found, name, other)
        for name, other in others
    ]
    adjusted = statistics.holm([p for one in tested for p in (one.accuracy_p, one.auc_p)])
    return tuple(
        replace(one, accuracy_p_holm=accuracy_p, auc_p_holm=auc_p)
        for one, accuracy_p, auc_p in zip(tested, adjusted[::2], adjusted[1::2], strict=True)
    )


def _compared(patients: Patients, name: str, other: Patients, *, seed: int) -> Comparison:
    """Differences and tests over patients, not yet adjusted."""
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
        test=PATIENTS,
    )


def _resampled(found: Gathered, name: str, other: Gathered) -> Comparison:
    """Differences over the folds of repeated partitions, whose patients are not independent."""
    scores = [
        [metrics.of_each_fold(metric, one.patients) for one in (found, other)]
        for metric in (metrics.accuracy, metrics.auc)
    ]
    ratio = max(found.test_to_train or 0.0, other.test_to_train or 0.0)
    accuracy, auc = (statistics.corrected_t(own - its, ratio) for own, its in scores)
    return Comparison(
        other=name,
        accuracy=float(scores[0][1].mean()),
        auc=float(scores[1][1].mean()),
        accuracy_difference=accuracy.value,
        auc_difference=auc.value,
        accuracy_p=accuracy.p,
        auc_p=auc.p,
        accuracy_p_holm=accuracy.p,
        auc_p_holm=auc.p,
        test=FOLDS,
        accuracy_difference_ends=(accuracy.low, accuracy.high),
        auc_difference_ends=(auc.low, auc.high),
    )


def aligned(found: Gathered, name: str, other: Gathered) -> Gathered:
    """Bring the predictions of another system into the order of the evaluated one.

    Parameters
    ----------
    found
        Predictions of the evaluated system.
    name
        Name of the other system, for the message.
    other
        Predictions of the other system.

    Returns
    -------
    `other`, with its patients in the order and under the fold names of the evaluated system.

    Raises
    ------
    EvaluationError
        If patients, labels, classes or folds are not the same.
    """
    patients, its = found.patients, other.patients
    if its.classes != patients.classes:
        classes, others = listed(patients.classes), listed(its.classes)
        raise EvaluationError(f"{name!r} has the classes {others}, the evaluated table {classes}")
    alone = sorted({*map(same_case, patients.case_ids)} ^ {*map(same_case, its.case_ids)})
    if alone:
        problem = f"{name!r} and the evaluated predictions are not of the same patients"
        hint = "systems are compared on the same patients only"
        raise EvaluationError(
            f"{problem}: {len(alone)} are in only one: {listed(alone)}", hint=hint
        )
    fold_of, name_of = _folds(patients), _folds(its)
    if fold_of.keys() != name_of.keys():
        problem = f"{name!r} and the evaluated predictions have their patients in different folds"
        raise EvaluationError(problem)
    same = {name_of[members]: fold for members, fold in fold_of.items()}
    row_of = {
        (same[fold], same_case(case_id)): row
        for row, (fold, case_id) in enumerate(zip(its.folds, its.case_ids, strict=True))
    }
    rows = np.array(
        [
            row_of[fold, same_case(case_id)]
            for fold, case_id in zip(patients.folds, patients.case_ids, strict=True)
        ]
    )
    rearranged = replace(its.at(rows), case_ids=patients.case_ids, folds=patients.folds)
    differ = np.flatnonzero(rearranged.labels != patients.labels)
    if differ.size:
        cases = listed(patients.case_ids[row] for row in differ)
        raise EvaluationError(f"{name!r} has different labels for {differ.size} cases: {cases}")
    return replace(other, patients=rearranged)


def _folds(patients: Patients) -> dict[frozenset[str], str]:
    """Name of each fold by its patients, which identify the fold in any system."""
    members: dict[str, set[str]] = {}
    for fold, case_id in zip(patients.folds, patients.case_ids, strict=True):
        members.setdefault(fold, set()).add(same_case(case_id))
    return {frozenset(own): fold for fold, own in members.items()}
