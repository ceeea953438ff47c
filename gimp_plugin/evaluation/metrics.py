"""Metrics of patients, each computed for many weightings of the patients at once.

A metric takes patients and weights of shape (draw, case) and gives one value per draw. Weights of 1
give the estimate, and the counts of a bootstrap draw give a bootstrap value, so both have the same
definition.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.ranking import each_auc, weighted_auc

Floats = NDArray[np.float64]
Metric = Callable[[Patients, Floats], Floats]

BIN_EDGES = np.linspace(0.0, 1.0, 16)
"""Edges of the bins of confidence, which are open below and closed above."""
TINY = float(np.finfo(np.float64).eps)


def accuracy(patients: Patients, weights: Floats) -> Floats:
    """Share of patients whose class is predicted correctly; no answer counts as not right."""
    return _mean((patients.predicted == patients.labels).astype(float), weights)


def coverage(patients: Patients, weights: Floats) -> Floats:
    """Share of patients with an answer."""
    return _mean((patients.predicted >= 0).astype(float), weights)


def accuracy_answered(patients: Patients, weights: Floats) -> Floats:
    """Share of the patients with an answer, at least one, whose answer is right."""
    right, answered = patients.predicted == patients.labels, patients.predicted >= 0
    return (weights @ right) / (weights @ answered)


def balanced_accuracy(patients: Patients, weights: Floats) -> Floats:
    """Mean sensitivity of the classes."""
    true, _, both = _counts(patients, weights)
    return (both / true).mean(axis=1)


def macro_f1(patients: Patients, weights: Floats) -> Floats:
    """Mean over the classes of F1, the harmonic mean of precision and sensitivity."""
    true, predicted, both = _counts(patients, weights)
    return (2 * both / (true + predicted)).mean(axis=1)


def auc(patients: Patients, weights: Floats) -> Floats:
    """AUC of each fold, averaged over the folds by size.

    With two classes it is the AUC of the second class, with more the mean over the classes of each
    against the others. Probabilities of different folds come from different models and are not
    compared.

    Returns
    -------
    Shape (draw,).
    """
    return _by_fold(patients, weights, pooled_auc)


def of_each_fold(metric: Metric, patients: Patients) -> Floats:
    """Value of a metric in each fold by itself, shape (fold,)."""
    parts = [patients.where(patients.of_fold(name)) for name in patients.fold_names]
    return np.array([metric(one, np.ones((1, len(one))))[0] for one in parts])


def pooled_auc(patients: Patients, weights: Floats) -> Floats:
    """AUC over all patients, as if one model had predicted them all."""
    return np.mean(
        [
            weighted_auc(patients.probabilities[:, place], patients.labels == place, weights)
            for place in _ranked_classes(patients)
        ],
        axis=0,
    )


def brier(patients: Patients, weights: Floats) -> Floats:
    """Mean squared error of the probabilities: 0 to 1 with two classes, 0 to 2 with more.

    With two classes it is the error of the second, with more the sum over the classes.

    Returns
    -------
    Shape (draw,).
    """
    squared = (patients.probabilities - _one_hot(patients.labels, patients)) ** 2
    binary = len(patients.classes) == 2
    return _mean(squared[:, 1] if binary else squared.sum(axis=1), weights)


def log_loss(patients: Patients, weights: Floats) -> Floats:
    """Mean of -log of the probability of the true class, in nats; finite also for probability 0."""
    true = patients.probabilities[np.arange(len(patients)), patients.labels]
    return _mean(-np.log(np.maximum(true, TINY)), weights)


def calibration_error(patients: Patients, weights: Floats) -> Floats:
    """Expected calibration error of the most likely class, in 15 bins of equal width.

    The confidence of a patient is its highest probability; bins hold (0, 1/15], (1/15, 2/15], ...
    The error of a bin is the distance between the mean confidence and the share of patients whose
    most likely class is the true one; the result is the mean over the patients (arXiv 1706.04599,
    equation 3). Chance alone makes it larger than 0, the more so the fewer patients there are, and
    the bootstrap adds to that: its interval is therefore `statistics.reflected`.

    Returns
    -------
    Shape (draw,).
    """
    confidence, right, bins = confidences(patients)
    gaps = weights @ (np.eye(len(BIN_EDGES) - 1)[bins] * (right - confidence)[:, None])
    return np.abs(gaps).sum(axis=1) / weights.sum(axis=1)


def confidences(patients: Patients) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Highest probability of each patient, whether its class is the true one, and its bin."""
    confidence = patients.probabilities.max(axis=1)
    right = patients.probabilities.argmax(axis=1) == patients.labels
    return confidence, right, np.digitize(confidence, BIN_EDGES[1:-1], right=True)


def swapped_auc(patients: Patients, probabilities: Floats) -> Floats:
    """AUC, averaged over folds by size, of many tables of probabilities for the same patients.

    Parameters
    ----------
    patients
        Labels and folds.
    probabilities
        Shape (draw, case, class).

    Returns
    -------
    Shape (draw,).
    """
    total = np.zeros(len(probabilities))
    for name in patients.fold_names:
        within = patients.of_fold(name)
        aucs = [
            each_auc(probabilities[:, within, place], patients.labels[within] == place)
            for place in _ranked_classes(patients)
        ]
        total += np.mean(aucs, axis=0) * within.sum()
    return total / len(patients)


def _ranked_classes(patients: Patients) -> range:
    """Classes over which the AUC is averaged: the second of two, or all."""
    n_classes = len(patients.classes)
    return range(1, 2) if n_classes == 2 else range(n_classes)


def _by_fold(patients: Patients, weights: Floats, metric: Metric) -> Floats:
    """Mean of a metric over the folds, weighted by size."""
    total = np.zeros(len(weights))
    for name in patients.fold_names:
        within = patients.of_fold(name)
        own = weights[:, within]
        total += metric(patients.where(within), own) * own.sum(axis=1)
    return total / weights.sum(axis=1)


def _mean(values: Floats, weights: Floats) -> Floats:
    """Weighted mean of one value per patient."""
    return weights @ values / weights.sum(axis=1)


def _counts(patients: Patients, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Patients of each class, predicted as that class, and both; each of shape (draw, class)."""
    true, predicted = (
        _one_hot(values, patients) for values in (patients.labels, patients.predicted)
    )
    return weights @ true, weights @ predicted, weights @ (true * predicted)


def _one_hot(values: NDArray[np.int64], patients: Patients) -> Floats:
    """Class indices as one-hot rows; zeros for -1, which is no class."""
    return np.eye(len(patients.classes) + 1)[values, :-1]
