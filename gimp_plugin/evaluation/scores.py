"""Compute every number of an evaluation, with its interval.

For repeated partitions, whose folds share patients, each number is the mean of its values in the
folds, with the interval of `statistics.corrected_t`. The exception is the calibration error: it is
computed over all predictions together and has no interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.evaluation import metrics, statistics
from gimp_plugin.evaluation.gather import Gathered
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.result import (
    ClassScores,
    Estimate,
    ModalityScores,
    ReliabilityBin,
    SystemScores,
)

Claims = NDArray[np.bool_]

WITH_INTERVAL: dict[str, metrics.Metric] = {
    "balanced_accuracy": metrics.balanced_accuracy,
    "auc": metrics.auc,
    "macro_f1": metrics.macro_f1,
    "brier": metrics.brier,
    "log_loss": metrics.log_loss,
    "calibration_error": metrics.calibration_error,
}
BIASED = "calibration_error"
"""Metric that chance alone makes larger than 0."""


UNBOUNDED = frozenset({"brier", "log_loss"})
"""Metrics that are not shares and may exceed 1."""


def estimates(found: Gathered, *, seed: int) -> dict[str, Estimate]:
    """All metrics with intervals, including those of answers if some patients have none."""
    patients, ratio = found.patients, found.test_to_train
    if ratio is None:
        return _of_patients(patients, seed=seed)
    wanted = {"accuracy": metrics.accuracy, **WITH_INTERVAL}
    answered = metrics.of_each_fold(metrics.coverage, patients)
    if answered.min() < 1:
        wanted["coverage"] = metrics.coverage
        if answered.min() > 0:
            wanted["accuracy_answered"] = metrics.accuracy_answered
    means = {
        name: _mean(metrics.of_each_fold(metric, patients), ratio, share=name not in UNBOUNDED)
        for name, metric in wanted.items()
        if name != BIASED
    }
    # Over all predictions, because a fold has so few cases that chance would enlarge it.
    return means | {BIASED: Estimate(value(wanted[BIASED], patients))}


def _mean(values: metrics.Floats, test_to_train: float, *, share: bool = True) -> Estimate:
    """Mean over the folds of repeated partitions; a single fold has no interval."""
    if len(values) < 2:
        return Estimate(float(values.mean()))
    found = statistics.corrected_t(values, test_to_train)
    return Estimate(found.value, max(0.0, found.low), min(found.high, 1.0 if share else np.inf))


def _of_patients(patients: Patients, *, seed: int) -> dict[str, Estimate]:
    """Metrics of patients that were each predicted once."""
    wanted = dict(WITH_INTERVAL)
    if len(patients.fold_names) > 1:
        wanted["auc_pooled"] = metrics.pooled_auc
    ends = statistics.bootstrap(patients, wanted, seed=seed)
    right, answered = patients.predicted == patients.labels, patients.predicted >= 0
    shares = {"accuracy": share(right)}
    if not answered.all():
        shares["coverage"] = share(answered)
    if 0 < answered.sum() < len(patients):
        shares["accuracy_answered"] = share(right[answered])
    values = {name: value(metric, patients) for name, metric in wanted.items()}
    ends[BIASED] = statistics.reflected(values[BIASED], *ends[BIASED])
    return shares | {name: Estimate(one, *ends[name]) for name, one in values.items()}


def by_class(found: Gathered) -> dict[str, ClassScores]:
    """Sensitivity and specificity of each class; a missing answer counts against both."""
    patients, scores = found.patients, {}
    for place, name in enumerate(patients.classes):
        true, called = patients.labels == place, patients.predicted == place
        spared = ~called & (patients.predicted >= 0)
        shares = (_share(found, called, true), _share(found, spared, ~true))
        scores[name] = ClassScores(patients.where(true).n_patients, *shares)
    return scores


def by_modalities(found: Gathered, *, seed: int) -> dict[str, ModalityScores]:
    """Scores of the cases that were predicted from the same halves."""
    scores = {}
    for name in (*keys.MODALITIES, ""):
        some = found.patients.where([name == own for own in found.patients.modalities])
        if len(some):
            own = replace(found, patients=some)
            accuracy = _share(own, some.predicted == some.labels, np.ones(len(some), bool))
            auc = _auc(own, seed=seed)
            scores[name or "unknown"] = ModalityScores(some.n_patients, accuracy, auc)
    return scores


def _share(found: Gathered, hits: Claims, among: Claims) -> Estimate:
    """Share of hits among some of the patients."""
    if found.test_to_train is None:
        return share(hits[among])
    folds = [found.patients.of_fold(name) & among for name in found.patients.fold_names]
    return _mean(np.array([hits[fold].mean() for fold in folds]), found.test_to_train)


def _auc(found: Gathered, *, seed: int) -> Estimate | None:
    """AUC with its interval; None if a fold lacks a class."""
    patients = found.patients
    cells = set(zip(patients.folds, patients.labels.tolist(), strict=True))
    if len(cells) < len(patients.fold_names) * len(patients.classes):
        return None
    if found.test_to_train is not None:
        return _mean(metrics.of_each_fold(metrics.auc, patients), found.test_to_train)
    ends = statistics.bootstrap(patients, {"auc": metrics.auc}, seed=seed)
    return Estimate(value(metrics.auc, patients), *ends["auc"])


def by_seed(found: Gathered) -> dict[str, tuple[float, ...]]:
    """Accuracy and AUC of each seed alone."""
    if not found.by_seed:
        return {}
    wanted = {"accuracy": metrics.accuracy, "AUC": metrics.auc}
    of = value if found.test_to_train is None else _mean_value
    return {
        name: tuple(of(metric, one) for one in found.by_seed) for name, metric in wanted.items()
    }


def _mean_value(metric: metrics.Metric, patients: Patients) -> float:
    """Mean of a metric over the folds."""
    return float(metrics.of_each_fold(metric, patients).mean())


def reliability(patients: Patients) -> tuple[ReliabilityBin, ...]:
    """Points of the reliability curve, one per bin, from the lowest confidence to the highest."""
    confidence, right, bins = metrics.confidences(patients)
    points = []
    for number, (low, high) in enumerate(pairwise(metrics.BIN_EDGES.tolist())):
        within = bins == number
        means = (
            float(each[within].mean()) if within.any() else None for each in (confidence, right)
        )
        points.append(ReliabilityBin(low, high, int(within.sum()), *means))
    return tuple(points)


def side_by_side(systems: Sequence[tuple[str, Gathered]], *, seed: int) -> tuple[SystemScores, ...]:
    """Scores of several systems on the same patients."""
    scores = []
    for name, one in systems:
        found, patients = estimates(one, seed=seed), one.patients
        columns = ("accuracy", "balanced_accuracy", "auc", "calibration_error")
        rows = dict.fromkeys(
            zip(map(same_case, patients.case_ids), patients.modalities, strict=True)
        )
        halves = dict(sorted(Counter(half or "unknown" for _, half in rows).items()))
        own = {column: found[column] for column in columns}
        scores.append(SystemScores(name=name, modalities=halves, **own))
    return tuple(scores)


def value(metric: metrics.Metric, patients: Patients) -> float:
    """Value of a metric with all weights 1."""
    return float(metric(patients, np.ones((1, len(patients))))[0])


def share(hits: Claims) -> Estimate:
    """Share of hits with Wilson's interval."""
    n_hits, n = int(hits.sum()), hits.size
    return Estimate(n_hits / n, *statistics.wilson(n_hits, n))
