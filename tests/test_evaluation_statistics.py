"""Intervals and tests against closed forms, enumerations and other libraries."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.svm import SVC

from gimp_plugin.evaluation import metrics, ranking, statistics
from tests.prediction_factory import draw_patients


def test_wilson_gives_the_published_interval_of_189_of_190():
    low, high = statistics.wilson(189, 190)

    assert (round(low, 3), round(high, 3)) == (0.971, 0.999)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (3, 7), (7, 7), (185, 190)])
def test_wilson_equals_its_closed_form(hits, n):
    z, share = stats.norm.ppf(0.975), hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))

    # The ends are clipped to 0 and 1, which the closed form reaches up to rounding.
    np.testing.assert_allclose(
        statistics.wilson(hits, n), [max(0, middle - half), min(1, middle + half)], atol=1e-12
    )


def test_mcnemar_gives_the_best_case_of_the_paper():
    """MODEL.md: 189 against 185 of 190, at best four patients more and none less: p = .125."""
    first, second = np.arange(190) != 0, np.arange(190) >= 5

    assert statistics.mcnemar(first, second) == pytest.approx(0.125)


def test_mcnemar_equals_the_binomial_sum():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 31)) < [[0.8], [0.5]]
    b, c = (first & ~second).sum(), (second & ~first).sum()

    tail = stats.binom.cdf(min(b, c), b + c, 0.5)

    assert statistics.mcnemar(first, second) == pytest.approx(min(1, 2 * tail))
    assert statistics.mcnemar(second, first) == pytest.approx(min(1, 2 * tail))


def test_mcnemar_of_equal_systems_is_one():
    right = np.array([True, False, True])

    assert statistics.mcnemar(right, right) == 1.0


def test_holm_equals_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(0).random(11) ** 3

    expected = multitest.multipletests(p_values, method="holm")[1]

    np.testing.assert_allclose(statistics.holm(p_values), expected, rtol=1e-12)


def test_holm_of_nothing_is_nothing():
    assert statistics.holm([]) == []


def test_bootstrap_draws_keep_every_class_of_every_fold_at_its_size():
    patients = draw_patients(47, n_folds=3)

    weights = np.concatenate(list(statistics.draws(patients, seed=0, n_draws=301)))

    assert weights.shape == (301, 47)
    for fold, label in product("012", (0, 1)):
        members = patients.of_fold(fold) & (patients.labels == label)
        assert set(weights[:, members].sum(axis=1)) == {members.sum()}


def test_the_bootstrap_repeats_under_a_seed():
    patients = draw_patients(31)
    wanted = {"auc": metrics.auc}

    first, again, other = (
        statistics.bootstrap(patients, wanted, seed=seed, n_draws=300) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_the_bootstrap_equals_a_loop_with_repeated_patients():
    patients = draw_patients(21)
    auc = metrics.auc

    found = statistics.bootstrap(patients, {"auc": auc}, seed=5, n_draws=60)["auc"]
    (weights,) = statistics.draws(patients, seed=5, n_draws=60)
    loop = []
    for counts in weights.astype(int):
        rows = np.repeat(np.arange(21), counts)
        score, label = patients.probabilities[rows, 1], patients.labels[rows] == 1
        order = np.subtract.outer(score[label], score[~label])
        loop.append((np.sign(order) + 1).mean() / 2)

    np.testing.assert_allclose(found, np.quantile(loop, [0.025, 0.975]), rtol=1e-12)


def test_the_stratified_bootstrap_of_balanced_accuracy_has_the_binomial_spread():
    patients = draw_patients(400, skill=1.0)
    right = patients.predicted == patients.labels

    low, high = statistics.bootstrap(
        patients, {"b": metrics.balanced_accuracy}, seed=0, n_draws=2000
    )["b"]
    shares = np.array([right[patients.labels == label].mean() for label in (0, 1)])
    spread = np.sqrt((shares * (1 - shares) / 200).sum()) / 2

    # The quantiles of 2,000 draws scatter by about 4 % of the width, normality adds a little.
    assert (high - low) / (2 * 1.96 * spread) == pytest.approx(1.0, abs=0.1)


def test_the_swap_test_equals_the_enumeration_of_all_swaps():
    patients, other = draw_patients(9, seed=1), draw_patients(9, seed=2, skill=0.2)
    differences = []
    for swaps in product((False, True), repeat=9):
        swapped = np.array(swaps)[:, None]
        pair = [
            np.where(swapped, one, two)
            for one, two in (
                (other.probabilities, patients.probabilities),
                (patients.probabilities, other.probabilities),
            )
        ]
        aucs = [metrics.swapped_auc(patients, one[None])[0] for one in pair]
        differences.append(aucs[0] - aucs[1])
    exact = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)

    difference, p = statistics.swap_test(patients, other.probabilities, seed=0)

    assert difference == pytest.approx(differences[0])
    # Four standard errors of a share of 10,000 draws.
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 10_000))


def test_the_swap_test_of_equal_systems_is_one():
    patients = draw_patients(17, n_folds=2)

    difference, p = statistics.swap_test(patients, patients.probabilities, seed=0, n_swaps=50)

    assert (difference, p) == (0.0, 1.0)


def test_the_swap_test_is_symmetric():
    patients, other = draw_patients(17, seed=1), draw_patients(17, seed=2)

    one = statistics.swap_test(patients, other.probabilities, seed=0, n_swaps=500)
    two = statistics.swap_test(other, patients.probabilities, seed=0, n_swaps=500)

    assert one == (-two[0], two[1])


def test_the_swap_test_keeps_its_level_without_a_difference():
    p_values = [
        statistics.swap_test(
            draw_patients(33, seed=seed), draw_patients(33, seed=1000 + seed).probabilities,
            seed=0, n_swaps=99,
        )[1]
        for seed in range(200)
    ]  # fmt: skip

    # 200 draws of a share of .1 scatter by .021: within three of that.
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.064)


@pytest.mark.parametrize(("sharpness", "least"), [(1.5, 0.8), (2.0, 0.8)])
def test_the_interval_of_the_calibration_error_holds_the_true_one(sharpness, least):
    rng = np.random.default_rng(0)

    def draw(n):
        log_odds = 2 * rng.normal(size=n)
        patients = draw_patients(n)
        patients.labels[:] = rng.uniform(size=n) < 1 / (1 + np.exp(-log_odds))
        patients.probabilities[:, 1] = 1 / (1 + np.exp(-sharpness * log_odds))
        patients.probabilities[:, 0] = 1 - patients.probabilities[:, 1]
        return patients

    def error(patients):
        return float(metrics.calibration_error(patients, np.ones((1, len(patients))))[0])

    true, held = error(draw(200_000)), []
    for _ in range(60):
        patients = draw(120)
        wanted = {"ece": metrics.calibration_error}
        ends = statistics.bootstrap(patients, wanted, seed=0, n_draws=250)["ece"]
        low, high = statistics.reflected(error(patients), *ends)
        held.append(low <= true <= high)

    assert np.mean(held) >= least  # nominally .95; percentile intervals fall short by far


def test_a_reflected_interval_holds_the_estimate_and_stays_within_0_to_1():
    assert statistics.reflected(0.1, 0.12, 0.3) == (0.0, 0.1)  # all draws lie above
    assert statistics.reflected(0.9, 0.5, 0.95) == (pytest.approx(0.85), 1.0)


def test_the_corrected_t_gives_the_published_example_of_scikit_learn():
    """Its "Statistical comparison of models using grid search": t .750, one-sided p .227."""
    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    partitions = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    differences = []
    for train, test in partitions.split(x, y):
        scores = [
            SVC(kernel=kernel).fit(x[train], y[train]).decision_function(x[test])
            for kernel in ("rbf", "linear")
        ]
        first, second = ranking.each_auc(np.array(scores), y[test] == 1)
        differences.append(first - second)

    found = statistics.corrected_t(np.array(differences), 10 / 90)

    assert round(found.p / 2, 3) == 0.227
    half = stats.t.ppf(0.975, 99) * found.value / 0.750
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-3)


def test_the_corrected_t_keeps_its_level_where_the_uncorrected_does_not():
    """Two classifiers of equal skill: nearest means in either half of the features."""
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        y = np.arange(40) % 2
        x = rng.normal(size=(40, 6)) + 0.5 * y[:, None]
        differences = []
        for _ in range(4):
            place = rng.permutation(40) % 5
            for fold in range(5):
                train, test = place != fold, place == fold
                far = [
                    ((x[test] - x[train & (y == label)].mean(axis=0)) ** 2)
                    .reshape(-1, 2, 3)
                    .sum(axis=2)
                    for label in (0, 1)
                ]
                right = (far[1] < far[0]) == (y[test, None] == 1)
                differences.append(np.subtract(*right.mean(axis=0)))
        p_values.append(
            [statistics.corrected_t(np.array(differences), ratio).p for ratio in (8 / 32, 0.0)]
        )

    corrected, uncorrected = (np.array(p_values) <= 0.05).mean(axis=0)
    # 200 draws of a share of .05 scatter by .015: within three of that.
    assert corrected == pytest.approx(0.05, abs=0.046)
    assert uncorrected > 0.3


@pytest.mark.parametrize(("value", "n_folds"), [(0.0, 4), (0.25, 2), (0.25, 4), (-0.25, 15)])
def test_the_corrected_t_of_equal_folds_has_no_width_and_the_p_of_the_sign_test(value, n_folds):
    found = statistics.corrected_t(np.full(n_folds, value), 0.3)

    p = stats.binomtest(n_folds, n_folds).pvalue if value else 1.0
    assert found == statistics.Mean(value, value, value, pytest.approx(p))


def test_the_corrected_t_takes_values_for_equal_that_differ_by_rounding():
    found = statistics.corrected_t(np.array([0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6]), 0.25)

    assert found.low == found.high == pytest.approx(0.1)
    assert found.p == 0.25
