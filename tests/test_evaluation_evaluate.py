"""From tables to the whole evaluation."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gimp_plugin.config import GimpConfig
from gimp_plugin.errors import EvaluationError, MissingFileError
from gimp_plugin.evaluation import evaluate
from gimp_plugin.storage import runs
from gimp_plugin.storage.atomic import write_json, write_text
from tests.prediction_factory import CLASSES, draw_patients, make_table, rows_of


@pytest.fixture
def table(tmp_path):
    return make_table(tmp_path / "p.csv", rows_of(draw_patients(41)))


def make_run(path, *, trained_on, classes=CLASSES):
    identity = {
        "kind": "finetune",
        "config": GimpConfig().to_dict(),
        "feature_dim": 5,
        "encoder": "untrained",
        "scale": "log",
    }
    runs.claim_run(path, identity, overwrite=False)
    write_text(path / runs.MODEL, "weights")
    write_text(path / runs.GENES, "id,order,mean,std,group\n")
    write_json(path / runs.LABELS, list(classes))
    write_text(path / runs.SPLITS, "case_id,fold,split\n")
    write_json(path / runs.CASES, trained_on)
    write_json(path / runs.METRICS, {})
    runs.seal_run(path, {"source": {}})
    return path


def test_the_evaluation_counts_the_test_cases(table):
    found = evaluate(table)

    assert (found.part, found.n_cases, found.n_folds, found.n_seeds) == ("test", 41, 1, 1)
    assert {name: one.n_cases for name, one in found.by_class.items()} == {"LUAD": 21, "LUSC": 20}
    assert not found.fitted


def test_a_table_may_be_named_by_text(table):
    assert evaluate(str(table)) == evaluate(table)
    assert evaluate(table, others=[[str(table)]]).systems


def test_the_second_class_is_the_positive_one(table):
    patients = draw_patients(41)

    assert evaluate(table).metrics["auc"].value == pytest.approx(
        roc_auc_score(patients.labels == 1, patients.probabilities[:, 1])
    )


def test_every_estimate_lies_within_its_interval(table):
    metrics = evaluate(table).metrics

    outside = [
        name
        for name, one in metrics.items()
        if one.low is not None and not one.low <= one.value <= one.high
    ]
    assert outside == []
    without = {name for name, one in metrics.items() if one.low is None}
    assert without == set()


def test_sensitivity_and_specificity_are_those_of_the_table(table):
    patients = draw_patients(41)
    right = patients.predicted == patients.labels

    by_class = evaluate(table).by_class

    assert by_class["LUAD"].sensitivity.value == right[patients.labels == 0].mean()
    assert by_class["LUAD"].specificity.value == right[patients.labels == 1].mean()
    assert by_class["LUSC"].sensitivity == by_class["LUAD"].specificity


def test_the_same_evaluation_twice_is_the_same(table):
    assert evaluate(table, seed=3) == evaluate(table, seed=3)


def test_folds_have_a_pooled_auc_that_is_marked(tmp_path, table):
    other = make_table(tmp_path / "q.csv", rows_of(draw_patients(31, seed=9), prefix="Q"))

    found = evaluate([table, other])

    assert found.n_folds == 2
    assert "auc_pooled" in found.metrics
    assert "POOLED" in found.to_markdown()
    assert "auc_pooled" not in evaluate(table).metrics


def test_the_spread_over_seeds_is_shown_apart(tmp_path, table):
    other = make_table(tmp_path / "q.csv", rows_of(draw_patients(41, seed=9)))

    found = evaluate([table, other])

    assert found.n_seeds == 2
    assert found.by_seed["AUC"] == (
        evaluate(table).metrics["auc"].value,
        evaluate(other).metrics["auc"].value,
    )
    assert "Each of the 2 seeds alone" in found.to_markdown()


def test_a_fitted_part_says_so_everywhere(tmp_path):
    path = make_table(tmp_path / "p.csv", rows_of(draw_patients(21), split="train"))

    found = evaluate(path, part="train")

    assert found.fitted
    assert found.to_dict()["fitted_on_these_cases"] is True
    assert "FITTED ON THESE CASES" in found.to_markdown()


def test_cases_predicted_from_different_halves_are_broken_down(tmp_path):
    both = rows_of(draw_patients(21))
    genes = rows_of(draw_patients(11), prefix="G", modalities="genes")
    slides = rows_of(draw_patients(1), prefix="S", modalities="slides")

    found = evaluate(make_table(tmp_path / "p.csv", both, genes, slides)).by_modalities

    assert {name: one.n_cases for name, one in found.items()} == {
        "slides+genes": 21,
        "slides": 1,
        "genes": 11,
    }
    assert found["genes"].auc is not None
    assert found["slides"].auc is None


def test_a_warning_is_logged_and_kept(tmp_path, caplog):
    path = make_table(tmp_path / "p.csv", rows_of(draw_patients(9)))

    with caplog.at_level(logging.WARNING):
        found = evaluate(path)

    assert "class 'LUSC' has 4 test cases" in caplog.text
    assert "Warning: class 'LUSC' has 4" in found.to_markdown()


def test_an_auc_of_one_warns_of_its_interval(tmp_path):
    path = make_table(tmp_path / "p.csv", rows_of(draw_patients(21, skill=50.0)))

    found = evaluate(path)

    assert found.metrics["auc"].low == 1.0
    assert any("no width" in warning for warning in found.warnings)


@pytest.mark.parametrize(("skill", "named"), [(9.0, 3), (None, 6)])
def test_every_interval_without_width_is_named(tmp_path, skill, named):
    patients = draw_patients(21, skill=skill or 0)
    if skill is None:  # the same for everybody
        half = np.full_like(patients.probabilities, 0.5)
        patients = replace(patients, probabilities=half, predicted=np.ones(21, int))

    found = evaluate(make_table(tmp_path / "p.csv", rows_of(patients)))

    (warning,) = (one for one in found.warnings if "no width" in one)
    flat = [one for one in found.metrics.values() if one.high - one.low < 1e-12]
    assert warning.count(",") == len(flat) == named
    assert "balanced accuracy, AUC, macro F1" in warning
    assert (", accuracy" in warning, "sensitivity" in warning) == (False, False)


@pytest.mark.parametrize(("n_low", "n_above", "warned"), [(1, 2, True), (2, 4, False)])
def test_few_cases_for_an_auc_near_one_are_a_warning(tmp_path, n_low, n_above, warned):
    patients = draw_patients(20)
    score = np.arange(20) / 100 + 0.5 * patients.labels
    score[1 : 2 * n_low : 2] = 0.02 * n_above - 0.01  # below the other negatives
    both = np.stack([1 - score, score], axis=1)
    path = make_table(tmp_path / "p.csv", rows_of(replace(patients, probabilities=both)))

    found = evaluate(path)

    assert found.metrics["auc"].value == pytest.approx(1 - n_low * (10 - n_above) / 100)
    assert any("too narrow" in warning for warning in found.warnings) is warned


def test_an_auc_below_one_is_not_printed_as_one(tmp_path):
    patients = draw_patients(122, skill=9.0)
    low = np.flatnonzero(patients.labels == 1)[0]
    ranks = np.argsort(np.argsort(patients.probabilities[patients.labels == 0, 1]))
    above = patients.probabilities[np.flatnonzero(patients.labels == 0)[ranks.argmax()], 1]
    patients.probabilities[low] = [1 - above + 1e-9, above - 1e-9]  # one pair in 61 x 61 is wrong

    found = evaluate(make_table(tmp_path / "p.csv", rows_of(patients)))

    assert found.metrics["auc"].value == pytest.approx(1 - 1 / 61**2)
    assert str(found.metrics["auc"]).startswith(">0.999 (0.99")
    assert "| AUC (LUSC positive)              | >0.999 |" in found.to_markdown()


def test_a_comparison_tests_both_accuracy_and_auc(tmp_path, table):
    weak = make_table(tmp_path / "weak.csv", rows_of(draw_patients(41, seed=5, skill=0.0)))

    (found,) = evaluate(table, others=[weak]).comparisons

    assert found.other == "weak.csv"
    assert found.auc == pytest.approx(evaluate(weak).metrics["auc"].value)
    assert found.auc_difference == pytest.approx(evaluate(table).metrics["auc"].value - found.auc)
    assert found.accuracy_difference > 0
    assert max(found.accuracy_p, found.auc_p) < 0.05
    assert found.auc_p_holm >= found.auc_p


def test_holm_counts_every_test_of_the_table(tmp_path, table):
    others = [
        make_table(tmp_path / f"{seed}.csv", rows_of(draw_patients(41, seed=seed, skill=0.0)))
        for seed in (5, 6)
    ]

    found = evaluate(table, others=others).comparisons

    p_values = [p for one in found for p in (one.accuracy_p, one.auc_p)]
    adjusted = [p for one in found for p in (one.accuracy_p_holm, one.auc_p_holm)]
    assert min(adjusted) == pytest.approx(4 * min(p_values))


def test_the_order_of_rows_does_not_matter_to_a_comparison(tmp_path, table):
    rows = rows_of(draw_patients(41, seed=5))
    forward = make_table(tmp_path / "other.csv", rows)
    backward = make_table(tmp_path / "x" / "other.csv", rows[::-1])

    assert (
        evaluate(table, others=[forward]).comparisons
        == evaluate(table, others=[backward]).comparisons
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[1:], "same patients: 1 are in only one: 'P0'"),
        (
            lambda rows: [rows[0] | {"label": "LUSC"}, *rows[1:]],
            "different labels for 1 cases: 'P0'",
        ),
    ],
)
def test_systems_on_other_patients_or_labels_are_not_compared(tmp_path, table, change, words):
    other = make_table(tmp_path / "o.csv", change(rows_of(draw_patients(41))))

    with pytest.raises(EvaluationError, match=words):
        evaluate(table, others=[other])


def test_systems_in_other_folds_are_not_compared(tmp_path):
    rows = rows_of(draw_patients(40))
    halves = [make_table(tmp_path / f"{k}.csv", rows[k * 20 :][:20]) for k in (0, 1)]
    whole = make_table(tmp_path / "whole.csv", rows)

    with pytest.raises(EvaluationError, match="have their patients in different folds"):
        evaluate(halves, others=[whole])


def test_systems_with_other_classes_are_not_compared(tmp_path, table):
    classes = ("LUAD", "MESO")
    patients = draw_patients(41, classes=classes)
    other = make_table(tmp_path / "o.csv", rows_of(patients), classes=classes)

    with pytest.raises(EvaluationError, match="'MESO'"):
        evaluate(table, others=[other])


def test_predictions_of_a_run_that_never_saw_them_pass(tmp_path, table):
    run = make_run(tmp_path / "run", trained_on={"train": ["A1"], "val": ["A2"]})

    assert evaluate(table, model=run).n_cases == 41


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_test_case_that_the_run_was_fitted_on_is_refused(tmp_path, table, part):
    run = make_run(tmp_path / "run", trained_on={"train": [], "val": [], part: ["P3", "P7"]})

    with pytest.raises(EvaluationError, match=r"2 of 41 test cases.*'P3', 'P7'"):
        evaluate(table, model=run)


def test_tcga_cases_are_known_again_by_their_patient(tmp_path):
    rows = rows_of(draw_patients(11), split="new")
    rows[4]["case_id"] = "TCGA-05-4244-01A-01R"
    path = make_table(tmp_path / "p.csv", rows)
    run = make_run(tmp_path / "run", trained_on={"train": ["TCGA-05-4244"], "val": []})

    with pytest.raises(EvaluationError, match="1 of 11 new cases"):
        evaluate(path, model=run)


def test_a_run_of_other_classes_is_refused(tmp_path, table):
    run = make_run(tmp_path / "run", trained_on={"train": [], "val": []}, classes=("LUSC", "LUAD"))

    with pytest.raises(EvaluationError, match="was trained on the classes 'LUSC', 'LUAD'"):
        evaluate(table, model=run)


def test_a_run_that_does_not_exist_is_named(tmp_path, table):
    with pytest.raises(MissingFileError, match="nowhere"):
        evaluate(table, model=tmp_path / "nowhere")


def test_the_dictionary_is_json_and_holds_no_absolute_path(tmp_path, table):
    other = make_table(tmp_path / "o.csv", rows_of(draw_patients(41, seed=5)))

    text = json.dumps(evaluate(table, others=[[other], other]).to_dict())

    assert str(tmp_path) not in text
    assert json.loads(text)["metrics"]["auc"]["low"] < 1


def test_one_line_holds_cases_accuracy_and_auc(table):
    line = str(evaluate(table))

    assert line.split(maxsplit=1)[0] == "41"
    assert line.count("(") == 2


def test_three_classes_are_evaluated_one_against_the_others(tmp_path):
    classes = ("a", "b", "c")
    patients = draw_patients(43, classes=classes)
    path = make_table(tmp_path / "p.csv", rows_of(patients), classes=classes)

    found = evaluate(path)

    assert "one class against the others" in found.to_markdown()
    assert found.by_class["b"].specificity.value == np.mean(
        patients.predicted[patients.labels != 1] != 1
    )


def constant(patients):
    """The same probabilities for everybody."""
    return replace(patients, probabilities=np.full_like(patients.probabilities, 1 / 3))


def silent(patients):
    """No answer for anybody."""
    return replace(patients, predicted=np.full_like(patients.predicted, -1))


def blind(patients):
    """A class that is never predicted, and has probability 0."""
    probabilities = patients.probabilities * [1, 1, 0]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return replace(patients, probabilities=probabilities, predicted=probabilities.argmax(axis=1))


@pytest.mark.parametrize("change", [constant, silent, blind])
def test_degenerate_predictions_have_finite_figures_and_do_not_differ_from_themselves(
    tmp_path, change
):
    classes = ("a", "b", "c")
    patients = change(draw_patients(43, classes=classes))
    for name in ("p.csv", "copy.csv"):
        rows = rows_of(patients)
        empty = [row | {"predicted": None} for row in rows] if change is silent else rows
        make_table(tmp_path / name, empty, classes=classes)

    found = evaluate(tmp_path / "p.csv", others=[tmp_path / "copy.csv"])

    numbers = [x for one in found.metrics.values() for x in (one.value, one.low, one.high)]
    assert np.isfinite(numbers).all()
    (one,) = found.comparisons
    assert (one.accuracy_difference, one.auc_difference) == (0.0, 0.0)
    assert one.accuracy_p == one.auc_p == one.accuracy_p_holm == one.auc_p_holm == 1.0
    by_sklearn = roc_auc_score(patients.labels, patients.probabilities, multi_class="ovr")
    assert found.metrics["auc"].value == pytest.approx(by_sklearn)
