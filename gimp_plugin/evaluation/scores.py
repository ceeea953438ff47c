"""What predictions are worth: every number of an evaluation, with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
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

WITH_INTERVAL: dict[str, metrics.Metric] = {
    "balanced_accuracy": metrics.balanced_accuracy,
    "auc": metrics.auc,
    "macro_f1": metrics.macro_f1,
    "brier": metrics.brier,
    "log_loss": metrics.log_loss,
    "calibration_error": metrics.calibration_error,
}


def estimates(patients: Patients, *, seed: int) -> dict[str, Estimate]:
    """All metrics, with their intervals; of the answers too, where some patient has none."""
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
    biased = "calibration_error"
    ends[biased] = statistics.reflected(values[biased], *ends[biased])
    return shares | {name: Estimate(one, *ends[name]) for name, one in values.items()}


def by_class(patients: Patients) -> dict[str, ClassScores]:
    """Sensitivity and specificity of each class; no answer counts against both."""
    scores = {}
    for place, name in enumerate(patients.classes):
        true, called = patients.labels == place, patients.predicted == place
        spared = ~called & (patients.predicted >= 0)
        scores[name] = ClassScores(int(true.sum()), share(called[true]), share(spared[~true]))
    return scores


def by_modalities(patients: Patients, *, seed: int) -> dict[str, ModalityScores]:
    """Scores of the cases that were predicted from the same halves."""
    scores = {}
    for name in (*keys.MODALITIES, ""):
        some = patients.where([name == own for own in patients.modalities])
        if len(some):
            accuracy = share(some.predicted == some.labels)
            scores[name or "unknown"] = ModalityScores(len(some), accuracy, _auc(some, seed=seed))
    return scores


def _auc(patients: Patients, *, seed: int) -> Estimate | None:
    """AUC with its interval; None where a fold lacks a class."""
    cells = set(zip(patients.folds, patients.labels.tolist(), strict=True))
    if len(cells) < len(patients.fold_names) * len(patients.classes):
        return None
    ends = statistics.bootstrap(patients, {"auc": metrics.auc}, seed=seed)
    return Estimate(value(metrics.auc, patients), *ends["auc"])


def by_seed(found: Gathered) -> dict[str, tuple[float, ...]]:
    """Accuracy and AUC of each seed alone."""
    if not found.by_seed:
        return {}
    wanted = {"accuracy": metrics.accuracy, "AUC": metrics.auc}
    return {
        name: tuple(value(metric, one) for one in found.by_seed) for name, metric in wanted.items()
    }


def reliability(patients: Patients) -> tuple[ReliabilityBin, ...]:
    """Points of the reliability curve, a bin each, from the lowest confidence to the highest."""
    confidence, right, bins = metrics.confidences(patients)
    points = []
    for number, (low, high) in enumerate(pairwise(metrics.BIN_EDGES.tolist())):
        within = bins == number
        means = (
            float(each[within].mean()) if within.any() else None for each in (confidence, right)
        )
        points.append(ReliabilityBin(low, high, int(within.sum()), *means))
    return tuple(points)


def side_by_side(systems: Sequence[tuple[str, Patients]], *, seed: int) -> tuple[SystemScores, ...]:
    """Scores of several systems on the same patients."""
    scores = []
    for name, patients in systems:
        found = estimates(patients, seed=seed)
        columns = ("accuracy", "balanced_accuracy", "auc", "calibration_error")
        halves = dict(sorted(Counter(one or "unknown" for one in patients.modalities).items()))
        own = {column: found[column] for column in columns}
        scores.append(SystemScores(name=name, modalities=halves, **own))
    return tuple(scores)


def value(metric: metrics.Metric, patients: Patients) -> float:
    """Estimate of a metric."""
    return float(metric(patients, np.ones((1, len(patients))))[0])


def share(hits: NDArray[np.bool_]) -> Estimate:
    """Share of hits with Wilson's interval."""
    n_hits, n = int(hits.sum()), hits.size
    return Estimate(n_hits / n, *statistics.wilson(n_hits, n))
