"""Cases without an answer, the reliability curve, and systems side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from gimp_plugin.cli.main import cli
from gimp_plugin.evaluation import evaluate
from tests.prediction_factory import draw_patients, make_table, rows_of

# true class, predicted class, probability of LUSC: 4 LUAD and 3 LUSC, two without an answer
BY_HAND = [
    ("LUAD", "LUAD", 0.1),
    ("LUAD", "LUAD", 0.2),
    ("LUAD", "LUSC", 0.8),
    ("LUAD", None, 0.4),  # would be right
    ("LUSC", "LUSC", 0.9),
    ("LUSC", "LUSC", 0.75),
    ("LUSC", None, 0.45),  # would be wrong
]


def rows_by_hand(*, answered=True):
    return [
        {
            "case_id": f"P{number}",
            "split": "test",
            "predicted": predicted if answered else None,
            "prob_LUAD": 1 - lusc,
            "prob_LUSC": lusc,
            "modalities": "slides",
            "n_slides": 1,
            "n_patches": 7,
            "gene_coverage": None,
            "label": label,
        }
        for number, (label, predicted, lusc) in enumerate(BY_HAND)
    ]


def test_an_unanswered_case_is_never_right_and_its_probabilities_count(tmp_path):
    found = evaluate(make_table(tmp_path / "p.csv", rows_by_hand()))

    values = {name: one.value for name, one in found.metrics.items()}
    labels = [label == "LUSC" for label, _, _ in BY_HAND]
    assert found.n_abstained == 2
    assert values["coverage"] == 5 / 7
    assert values["accuracy"] == 4 / 7
    assert values["accuracy_answered"] == 4 / 5
    assert values["balanced_accuracy"] == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert values["auc"] == roc_auc_score(labels, [lusc for _, _, lusc in BY_HAND])
    assert values["brier"] == pytest.approx(
        np.mean([(lusc - label) ** 2 for label, (_, _, lusc) in zip(labels, BY_HAND, strict=True)])
    )
    assert found.by_class["LUAD"].sensitivity.value == 2 / 4
    assert found.by_class["LUAD"].specificity.value == 2 / 3
    assert found.by_class["LUSC"].specificity == found.by_class["LUAD"].sensitivity
    assert found.by_modalities["slides"].accuracy.value == 4 / 7


def test_what_a_reader_sees_of_unanswered_cases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_table(tmp_path / "predictions.csv", rows_by_hand())

    text = CliRunner().invoke(cli, ["evaluate"]).stdout

    assert "7 test cases (4 LUAD, 3 LUSC); 2 without an answer, which count as wrong" in text
    assert "| coverage " in text
    assert "Wilson for accuracy, coverage, sensitivity and specificity" in text
    assert "| accuracy of the answered " in text


def test_where_no_case_has_an_answer_there_is_no_accuracy_of_the_answered(tmp_path):
    found = evaluate(make_table(tmp_path / "p.csv", rows_by_hand(answered=False)))

    assert (found.metrics["coverage"].value, found.metrics["accuracy"].value) == (0.0, 0.0)
    assert found.metrics["macro_f1"].value == 0.0
    assert "accuracy_answered" not in found.metrics


def test_where_every_case_has_an_answer_nothing_is_said_of_coverage(tmp_path):
    found = evaluate(make_table(tmp_path / "p.csv", rows_of(draw_patients(41))))

    assert found.n_abstained == 0
    assert not {"coverage", "accuracy_answered"} & set(found.metrics)


def test_an_unanswered_case_is_not_right_beside_another_system(tmp_path):
    rows = rows_of(draw_patients(41))
    silent = [row | {"predicted": None} for row in rows]
    tables = [
        make_table(tmp_path / f"{name}.csv", each) for name, each in (("a", rows), ("b", silent))
    ]

    (found,) = evaluate(tables[0], others=[tables[1]]).comparisons

    assert found.accuracy == 0.0
    assert found.auc_difference == 0.0


def test_the_reliability_curve_is_that_of_a_loop_over_bins(tmp_path):
    patients = draw_patients(101, classes=("a", "b", "c"))
    table = make_table(tmp_path / "p.csv", rows_of(patients), classes=patients.classes)

    result = CliRunner().invoke(cli, ["evaluate", str(table), "--json"])

    points = json.loads(result.stdout)["reliability"]
    assert len(points) == 15
    for number, point in enumerate(points):
        sure = patients.probabilities.max(axis=1)
        within = [row for row in range(101) if number / 15 < sure[row] <= (number + 1) / 15]
        right = [patients.probabilities[row].argmax() == patients.labels[row] for row in within]
        assert point == {
            "low": pytest.approx(number / 15),
            "high": pytest.approx((number + 1) / 15),
            "n_cases": len(within),
            "confidence": pytest.approx(np.mean(sure[within])) if within else None,
            "accuracy": pytest.approx(np.mean(right)) if within else None,
        }
    assert sum(point["n_cases"] for point in points) == 101


def test_the_curve_and_the_error_are_of_one_piece_and_empty_bins_are_not_printed(tmp_path):
    found = evaluate(make_table(tmp_path / "p.csv", rows_of(draw_patients(41))))

    filled = [one for one in found.reliability if one.n_cases]
    gaps = [one.n_cases * abs(one.confidence - one.accuracy) for one in filled]
    assert found.metrics["calibration_error"].value == pytest.approx(sum(gaps) / 41)
    text = found.to_markdown()
    assert "| calibration error (ECE, 15 bins) |" in text
    table = text.partition("| confidence ")[2].partition("\n\n")[0].splitlines()
    assert len(table) == 2 + len(filled) < 2 + 15


def test_three_tables_stand_side_by_side_each_as_if_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"both.csv": "slides+genes", "slides.csv": "slides", "genes.csv": "genes"}
    for seed, (name, modalities) in enumerate(names.items()):
        rows = rows_of(draw_patients(41, seed=seed), modalities=modalities)
        make_table(tmp_path / name, rows[seed:] + rows[:seed])

    result = CliRunner().invoke(
        cli, ["evaluate", "both.csv", "--compare", "slides.csv", "--compare", "genes.csv", "--json"]
    )

    found = json.loads(result.stdout)
    assert [one["name"] for one in found["systems"]] == list(names)
    assert [one["modalities"] for one in found["systems"]] == [{one: 41} for one in names.values()]
    for one in found["systems"]:
        alone = evaluate(tmp_path / one["name"]).metrics
        for metric in ("accuracy", "balanced_accuracy", "auc", "calibration_error"):
            assert one[metric]["value"] == pytest.approx(alone[metric].value, abs=1e-12)
            assert one[metric]["low"] <= one[metric]["value"] <= one[metric]["high"]
    rival = found["comparisons"][0]
    assert rival["auc"] == pytest.approx(found["systems"][1]["auc"]["value"])


def test_side_by_side_is_printed_with_intervals_and_only_beside_others(tmp_path):
    both = make_table(tmp_path / "both.csv", rows_of(draw_patients(41)))
    slides = make_table(tmp_path / "s.csv", rows_of(draw_patients(41, seed=1), modalities="slides"))

    text = evaluate(both, others=[slides]).to_markdown()

    (line,) = [line for line in text.splitlines() if line.startswith("| s.csv") and "(41)" in line]
    assert line.count("(") == 1 + 4
    assert "predicted from" not in evaluate(both).to_markdown()
