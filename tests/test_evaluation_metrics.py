"""Metrics against scikit-learn and naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from gimp_plugin.evaluation import metrics
from gimp_plugin.evaluation.ranking import each_auc, weighted_auc
from tests.prediction_factory import draw_patients

THREE = ("a", "b", "c")
TIGHT = 1e-12  # float64, sums of a few dozen terms


def once(metric, patients):
    return metric(patients, np.ones((1, len(patients))))[0]


@pytest.mark.parametrize("classes", [("a", "b"), THREE])
@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (metrics.accuracy, reference.accuracy_score),
        (metrics.balanced_accuracy, reference.balanced_accuracy_score),
        (metrics.macro_f1, lambda *pair: reference.f1_score(*pair, average="macro")),
    ],
)
def test_metrics_of_the_predicted_class_equal_those_of_scikit_learn(metric, expected, classes):
    patients = draw_patients(43, classes=classes)

    assert once(metric, patients) == pytest.approx(
        expected(patients.labels, patients.predicted), abs=TIGHT
    )


@pytest.mark.parametrize("classes", [("a", "b"), THREE])
@pytest.mark.parametrize(
    ("metric", "expected"),
    [(metrics.brier, reference.brier_score_loss), (metrics.log_loss, reference.log_loss)],
)
def test_metrics_of_probabilities_equal_those_of_scikit_learn(metric, expected, classes):
    patients = draw_patients(43, classes=classes)
    probabilities = patients.probabilities[:, 1] if len(classes) == 2 else patients.probabilities

    assert once(metric, patients) == pytest.approx(
        expected(patients.labels, probabilities), abs=TIGHT
    )


def test_log_loss_is_finite_for_probability_zero():
    sure = draw_patients(5, decimals=0)

    assert np.isfinite(once(metrics.log_loss, sure))


def test_the_auc_of_two_classes_equals_that_of_scikit_learn():
    patients = draw_patients(43, decimals=1)  # with ties

    assert once(metrics.auc, patients) == pytest.approx(
        reference.roc_auc_score(patients.labels, patients.probabilities[:, 1]), abs=TIGHT
    )


def test_the_auc_of_three_classes_is_the_mean_of_one_against_the_rest():
    patients = draw_patients(43, classes=THREE)

    assert once(metrics.auc, patients) == pytest.approx(
        reference.roc_auc_score(
            patients.labels, patients.probabilities, multi_class="ovr", average="macro"
        ),
        abs=TIGHT,
    )


def test_the_auc_is_computed_per_fold_and_averaged_by_size():
    patients = draw_patients(47, n_folds=3)
    folds = np.array(patients.folds)

    expected = sum(
        (folds == fold).sum()
        / 47
        * reference.roc_auc_score(
            patients.labels[folds == fold], patients.probabilities[folds == fold, 1]
        )
        for fold in "012"
    )

    assert once(metrics.auc, patients) == pytest.approx(expected, abs=TIGHT)


def test_a_shift_between_folds_changes_the_pooled_auc_only():
    patients = draw_patients(40, n_folds=2)
    shifted = patients.where(np.ones(40, bool))
    second = patients.of_fold("1")
    shifted.probabilities[second] = shifted.probabilities[second] * 0.1 + [0.9, 0.0]

    assert once(metrics.auc, shifted) == pytest.approx(once(metrics.auc, patients), abs=TIGHT)
    assert once(metrics.pooled_auc, shifted) != pytest.approx(once(metrics.pooled_auc, patients))


def test_weights_count_a_patient_as_often_as_repeating_it():
    patients = draw_patients(23, classes=THREE)
    counts = np.random.default_rng(1).integers(1, 4, 23)
    rows = np.repeat(np.arange(23), counts)
    repeated = type(patients)(
        case_ids=tuple(map(str, range(rows.size))),
        classes=patients.classes,
        labels=patients.labels[rows],
        predicted=patients.predicted[rows],
        probabilities=patients.probabilities[rows],
        folds=("",) * rows.size,
        modalities=("",) * rows.size,
    )
    every = [
        metrics.accuracy,
        metrics.balanced_accuracy,
        metrics.macro_f1,
        metrics.auc,
        metrics.brier,
        metrics.log_loss,
        metrics.calibration_error,
    ]

    weighted = [metric(patients, counts[None].astype(float))[0] for metric in every]

    np.testing.assert_allclose(weighted, [once(metric, repeated) for metric in every], rtol=TIGHT)


def test_many_weightings_at_once_equal_one_by_one():
    patients = draw_patients(23, n_folds=2)
    weights = np.random.default_rng(1).integers(1, 4, (5, 23)).astype(float)

    together = metrics.auc(patients, weights)

    np.testing.assert_allclose(
        together, [metrics.auc(patients, one[None])[0] for one in weights], rtol=TIGHT
    )


def test_the_calibration_error_equals_a_loop_over_bins():
    patients = draw_patients(101, classes=THREE)
    confidence = patients.probabilities.max(axis=1)
    correct = patients.probabilities.argmax(axis=1) == patients.labels

    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())

    assert once(metrics.calibration_error, patients) == pytest.approx(expected, abs=TIGHT)


def test_a_confidence_at_an_edge_belongs_to_the_bin_below():
    patients = draw_patients(5).where([True] * 3 + [False] * 2)
    patients.probabilities[:] = [[3 / 5, 2 / 5], [4 / 5, 1 / 5], [1, 0]]  # 9, 12 and 15 of 15

    assert metrics.confidences(patients)[2].tolist() == [8, 11, 14]


def test_calibrated_probabilities_have_a_smaller_error_than_sharpened_ones():
    rng = np.random.default_rng(0)
    patients = draw_patients(4000)
    patients.probabilities[:, 1] = rng.uniform(size=4000)
    patients.probabilities[:, 0] = 1 - patients.probabilities[:, 1]
    patients.labels[:] = rng.uniform(size=4000) < patients.probabilities[:, 1]
    calibrated = once(metrics.calibration_error, patients)

    odds = patients.probabilities**3
    patients.probabilities[:] = odds / odds.sum(axis=1, keepdims=True)

    # Shares of 500 in a bin scatter by .02; sharpened .75 says .96 and is right .75.
    assert calibrated < 0.03
    assert once(metrics.calibration_error, patients) > 0.1


def test_a_patient_without_an_answer_is_never_right():
    patients = draw_patients(43, classes=THREE)
    patients.predicted[::4] = -1
    expected = {
        metrics.accuracy: reference.accuracy_score(patients.labels, patients.predicted),
        metrics.balanced_accuracy: reference.recall_score(
            patients.labels, patients.predicted, labels=[0, 1, 2], average="macro"
        ),
        metrics.macro_f1: reference.f1_score(
            patients.labels, patients.predicted, labels=[0, 1, 2], average="macro"
        ),
    }

    assert {metric: once(metric, patients) for metric in expected} == pytest.approx(
        expected, abs=TIGHT
    )


def test_ranks_and_weights_give_the_same_auc_as_a_loop_over_pairs():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 5, 19).astype(float)  # many ties
    positive = np.arange(19) % 3 == 0

    pairs = [
        (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
        for i in np.flatnonzero(positive)
        for j in np.flatnonzero(~positive)
    ]

    assert each_auc(scores[None], positive)[0] == pytest.approx(np.mean(pairs), abs=TIGHT)
    assert weighted_auc(scores, positive, np.ones((1, 19)))[0] == pytest.approx(
        np.mean(pairs), abs=TIGHT
    )


def test_without_a_negative_case_the_weighted_auc_is_nan():
    found = weighted_auc(np.arange(3.0), np.array([True, True, False]), np.array([[1.0, 1.0, 0.0]]))

    assert np.isnan(found[0])


@pytest.mark.parametrize("classes", [("a", "b"), THREE])
def test_swapped_auc_of_the_own_probabilities_is_the_auc(classes):
    patients = draw_patients(29, classes=classes, n_folds=2)

    assert metrics.swapped_auc(patients, patients.probabilities[None])[0] == pytest.approx(
        once(metrics.auc, patients), abs=TIGHT
    )
