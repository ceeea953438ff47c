"""ROC and precision-recall curves, against counting."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from gimp_plugin.evaluation import metrics, scores
from gimp_plugin.evaluation.curves import GRID, precision_recall, roc
from gimp_plugin.evaluation.gather import Gathered
from tests.prediction_factory import draw_patients


def counted(patients, place, threshold):
    """True positive, false positive and positive cases, when those above a threshold are called."""
    called = patients.probabilities[:, place] >= threshold
    positive = patients.labels == place
    return (called & positive).sum(), (called & ~positive).sum(), positive.sum()


@pytest.mark.parametrize("decimals", [None, 1])
def test_a_roc_curve_passes_what_each_threshold_counts(decimals):
    patients = draw_patients(43, decimals=decimals, seed=3)

    found = roc(patients, 1, seed=0)

    for threshold in np.unique(patients.probabilities[:, 1]):
        hits, wrong, n = counted(patients, 1, threshold)
        low = found.y[np.flatnonzero(found.x <= wrong / (43 - n) + 1e-12)[0] :]
        assert low[0] <= hits / n + 1e-12
        between = np.interp(wrong / (43 - n) + 1e-12, found.x, found.y)
        assert between >= hits / n - 1e-9
    assert found.area.value == pytest.approx(scores.value(metrics.auc, patients))


def test_precision_at_a_recall_is_what_the_threshold_counts():
    patients = draw_patients(43, seed=5)
    positive = patients.labels == 0

    found = precision_recall(patients, 0, seed=0)

    for threshold in patients.probabilities[positive, 0]:
        hits, wrong, n = counted(patients, 0, threshold)
        at = np.flatnonzero(np.isclose(found.x, hits / n))
        assert hits / (hits + wrong) in found.y[at]
    assert found.x[-1] == 1
    wanted = average_precision_score(positive, patients.probabilities[:, 0])
    assert found.area.value == pytest.approx(wanted)
    assert (np.diff(found.x) >= 0).all()


def test_the_interval_of_the_area_is_that_of_the_evaluation_but_for_the_draws():
    patients = draw_patients(83, seed=1)

    area = roc(patients, 1, seed=0).area
    found = Gathered(part="test", patients=patients, by_seed=(), n_unlabelled=0, warnings=())
    wanted = scores.estimates(found, seed=0)["auc"]

    assert (area.low, area.high) == pytest.approx((wanted.low, wanted.high), abs=0.03)


def test_a_model_that_knows_everything_has_a_band_without_width():
    patients = draw_patients(21, skill=50.0)

    first, second = roc(patients, 1, seed=0), precision_recall(patients, 1, seed=0)

    assert (first.low == 1).all()
    assert (second.low == 1).all()
    assert (first.area.low, second.area.low) == (1, 1)


def test_the_band_of_tied_probabilities_lies_around_the_line_between_the_points():
    found = roc(draw_patients(61, decimals=0, seed=2), 1, seed=0)

    line = np.interp(GRID + 1e-9, found.x, found.y)
    assert (found.low - 1e-6 <= line).all()
    assert (line <= found.high + 1e-6).all()


def test_the_band_of_a_model_that_knows_nothing_is_the_diagonal():
    patients = draw_patients(31)
    patients.probabilities[:] = 0.5

    found = roc(patients, 1, seed=0)

    np.testing.assert_allclose([found.low, found.high], [GRID, GRID], atol=1e-8)


def test_the_band_lies_around_the_curve_and_narrows_with_more_cases():
    few, many = (roc(draw_patients(n, seed=2), 1, seed=0) for n in (41, 525))

    steps = [few.y[np.searchsorted(few.x, at + 1e-9, side="right") - 1] for at in GRID]
    inside = (few.low <= steps) & (steps <= few.high)
    assert inside.mean() > 0.9
    assert (many.high - many.low).mean() < 0.5 * (few.high - few.low).mean()
    assert (np.diff(few.low) >= 0).all()
