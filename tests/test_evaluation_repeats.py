"""Repeated partitions: folds share patients, and intervals and tests allow for it."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, roc_auc_score

from gimp_plugin.errors import EvaluationError
from gimp_plugin.evaluation import evaluate, statistics
from gimp_plugin.storage.tables import read_csv
from tests.prediction_factory import draw_patients, make_repeats, make_table, rows_of


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two systems on the same three folds, drawn twice."""
    folder = tmp_path_factory.mktemp("repeats")
    return make_repeats(folder), make_repeats(folder, seed=1, skill=0.4)


def naive(path):
    """Scores on the test cases of one table, by scikit-learn; test and training cases."""
    rows = read_csv(path)
    tested = [row for row in rows if row["split"] == "test"]
    truth = [row["label"] == "LUSC" for row in tested]
    called = [row["predicted"] == "LUSC" for row in tested]
    p = [float(row["prob_LUSC"]) for row in tested]
    scores = {
        "accuracy": accuracy_score(truth, called),
        "balanced_accuracy": balanced_accuracy_score(truth, called),
        "auc": roc_auc_score(truth, p),
        "log_loss": log_loss(truth, p),
    }
    return scores, len(tested), sum(row["split"] == "train" for row in rows)


def naive_ece(rows):
    """Distance of confidence and share right in 15 bins, mean over the predictions."""
    bins = {}
    for row in rows:
        p = float(row["prob_LUSC"])
        gap = max(p, 1 - p) - ((p > 0.5) == (row["label"] == "LUSC"))
        bins.setdefault(int(np.ceil(max(p, 1 - p) * 15)), []).append(gap)
    return sum(abs(sum(gaps)) for gaps in bins.values()) / len(rows)


def naive_t(values, n_test, n_train):
    """Mean, ends and p by the formula of Nadeau and Bengio."""
    k, ratio = len(values), np.mean(np.array(n_test) / np.array(n_train))
    variance = sum((value - sum(values) / k) ** 2 for value in values) / (k - 1)
    error = np.sqrt((1 / k + ratio) * variance)
    mean = sum(values) / k
    ends = stats.t.interval(0.95, k - 1, loc=mean, scale=error)
    return mean, ends, 2 * stats.t.cdf(-abs(mean / error), k - 1)


def test_every_estimate_is_the_mean_of_the_folds_with_the_corrected_interval(tables):
    scores, n_test, n_train = zip(*map(naive, tables[0]), strict=True)

    found = evaluate(tables[0])

    assert (found.n_cases, found.n_folds, found.n_seeds) == (30, 6, 1)
    assert found.test_to_train == pytest.approx(np.mean(np.array(n_test) / np.array(n_train)))
    for name in scores[0]:
        mean, ends, _ = naive_t([one[name] for one in scores], n_test, n_train)
        one = found.metrics[name]
        high = ends[1] if name == "log_loss" else min(1, ends[1])
        expected = (mean, max(0, ends[0]), high)
        assert (one.value, one.low, one.high) == pytest.approx(expected, rel=1e-12)
    pooled = [row for path in tables[0] for row in read_csv(path) if row["split"] == "test"]
    error = found.metrics["calibration_error"]
    assert (error.value, error.low) == (pytest.approx(naive_ece(pooled)), None)
    assert sum(one.n_cases for one in found.reliability) == len(pooled) == 60
    assert "auc_pooled" not in found.metrics
    assert {name: one.n_cases for name, one in found.by_class.items()} == {"LUAD": 15, "LUSC": 15}
    recalls = [one.sensitivity.value for one in found.by_class.values()]
    assert np.mean(recalls) == pytest.approx(found.metrics["balanced_accuracy"].value)


def test_systems_are_compared_by_folds_and_never_by_patients(tables, monkeypatch):
    for name in ("mcnemar", "swap_test", "bootstrap", "wilson"):
        monkeypatch.setattr(statistics, name, None)  # not to be called
    (first, n_test, n_train), (second, _, _) = (
        zip(*map(naive, each), strict=True) for each in tables
    )

    found = evaluate(tables[0], others=[tables[1]])

    (one,) = found.comparisons
    for name in ("accuracy", "auc"):
        differences = [own[name] - other[name] for own, other in zip(first, second, strict=True)]
        mean, ends, p = naive_t(differences, n_test, n_train)
        assert getattr(one, f"{name}_difference") == pytest.approx(mean, rel=1e-9)
        assert getattr(one, f"{name}_difference_ends") == pytest.approx(ends, rel=1e-9)
        assert getattr(one, f"{name}_p") == pytest.approx(p, rel=1e-9)
        assert getattr(one, name) == getattr(found.systems[1], name).value
    assert one.test == "corrected resampled t"
    assert max(one.accuracy_p_holm, one.auc_p_holm) <= 2 * max(one.accuracy_p, one.auc_p)
    text = found.to_markdown()
    assert "30 test cases (15 LUAD, 15 LUSC); 6 folds of repeated partitions" in text
    assert "corrected resampled t-test" in text
    assert "5 degrees of freedom" in text
    assert "McNemar" not in text
    assert "bootstrap" not in text
    assert json.loads(json.dumps(found.to_dict()))["comparisons"][0]["test"] == one.test


def test_the_same_system_differs_from_itself_by_nothing(tables):
    (one,) = evaluate(tables[0], others=[tables[0]]).comparisons

    assert (one.accuracy_difference, one.auc_difference) == (0.0, 0.0)
    assert one.accuracy_difference_ends == one.auc_difference_ends == (0.0, 0.0)
    assert (one.accuracy_p, one.auc_p) == (1.0, 1.0)


def test_the_order_of_tables_changes_nothing(tables):
    first, second = (list(each) for each in tables)
    random.Random(0).shuffle(first)

    found = evaluate(first, others=[second[::-1]])
    expected = evaluate(tables[0], others=[tables[1]])

    for name, one in expected.metrics.items():
        assert found.metrics[name].value == pytest.approx(one.value, rel=1e-12)
    assert found.comparisons[0].auc_p == pytest.approx(expected.comparisons[0].auc_p, rel=1e-9)


def test_seeds_are_averaged_within_the_fold(tables):
    found = evaluate([*tables[0], *tables[1]])

    assert (found.n_seeds, found.n_folds, found.n_cases) == (2, 6, 30)
    alone = [evaluate(each).metrics["accuracy"].value for each in tables]
    assert sorted(found.by_seed["accuracy"]) == pytest.approx(sorted(alone))
    assert found.metrics["auc"].value > max(
        found.by_seed["AUC"]
    )  # two weak models make a better one


def test_folds_without_repeats_are_tested_by_patients(tables):
    found = evaluate(tables[0][:3], others=[tables[1][:3]])

    assert (found.n_cases, found.test_to_train) == (30, None)
    assert found.comparisons[0].test == "exact McNemar, swapped probabilities"
    assert found.comparisons[0].auc_difference_ends is None
    assert "McNemar" in found.to_markdown()


def test_one_fold_of_another_partition_makes_them_repeated(tables):
    found = evaluate(tables[0][:4])

    assert (found.n_cases, found.n_folds) == (30, 4)
    assert found.test_to_train is not None


def test_halves_answers_and_three_classes_are_averaged_over_the_folds(tmp_path):
    paths = make_repeats(tmp_path, n=45, classes=("a", "b", "c"))
    for path in paths:
        lines = path.read_text().splitlines()
        own = [
            line.replace(",slides+genes,", ",genes,") if line[:2] == "P1" else line
            for line in lines
        ]
        case = next(place for place, line in enumerate(own) if line.startswith("P2,"))
        cells = own[case].split(",")
        own[case] = ",".join([*cells[:2], "", *cells[3:]])  # without an answer
        path.write_text("\n".join(own) + "\n")

    found = evaluate(paths)

    assert found.n_abstained == 1
    assert found.metrics["coverage"].value == pytest.approx(1 - 2 / 90)
    tested = [[row for row in read_csv(path) if row["split"] == "test"] for path in paths]
    answered = [
        np.mean([row["predicted"] == row["label"] for row in rows if row["predicted"]])
        for rows in tested
    ]
    assert found.metrics["accuracy_answered"].value == pytest.approx(np.mean(answered))
    assert {name: one.n_cases for name, one in found.by_modalities.items()} == {
        "slides+genes": 34,
        "genes": 11,
    }
    assert 0 < found.by_modalities["slides+genes"].accuracy.value < 1
    assert "coverage" in found.to_markdown()


@pytest.mark.parametrize("part", ["val", "train"])
def test_fitted_parts_that_overlap_are_no_repeated_partitions(tables, part):
    with pytest.raises(EvaluationError, match=f"share .* {part} cases but not all"):
        evaluate(tables[0], part=part)


def test_a_table_that_lacks_a_test_case_is_no_repeat(tmp_path, tables):
    lines = tables[0][0].read_text().splitlines()
    lost = next(line for line in lines if ",test," in line)
    (tmp_path / "other.csv").write_text("\n".join(line for line in lines if line != lost) + "\n")

    with pytest.raises(EvaluationError, match=r"other\.csv.*share 9 test cases but not all"):
        evaluate([tables[0][0], tmp_path / "other.csv"])


def test_a_fold_of_a_repeat_without_training_cases_is_refused_by_name(tmp_path, tables):
    bare = make_table(tmp_path / "bare.csv", rows_of(draw_patients(21), prefix="X"))

    with pytest.raises(EvaluationError, match=r"bare\.csv' has no training case"):
        evaluate([*tables[0], bare])


def test_intervals_of_folds_that_do_not_differ_are_named(tmp_path):
    found = evaluate(make_repeats(tmp_path, skill=9.0))

    (warning,) = (one for one in found.warnings if "no width" in one)
    assert ": accuracy, balanced accuracy, AUC, macro F1, sensitivity of LUAD, " in warning
    assert "the folds do not differ" in warning


def test_systems_in_other_partitions_are_not_compared(tables):
    others = [*tables[1][:3], *tables[1][4:]]

    with pytest.raises(EvaluationError, match="have their patients in different folds"):
        evaluate(tables[0], others=[others])


def test_few_cases_of_a_class_are_counted_once(tmp_path):
    found = evaluate(make_repeats(tmp_path, n=9, n_folds=2, n_repeats=3))

    assert any("class 'LUSC' has 4 test cases" in warning for warning in found.warnings)


def test_cases_without_a_label_are_counted_once(tmp_path):
    paths = make_repeats(tmp_path)
    for path in paths:
        (row,) = rows_of(draw_patients(1), prefix="bare", label=None)
        rows = [*read_csv(path), row]
        make_table(path, rows)

    assert evaluate(paths).n_unlabelled == 1
