from __future__ import annotations

import csv
import os

import numpy as np
import pytest

from gimp_plugin.errors import EvaluationError, MissingFileError
from gimp_plugin.storage.predictions import columns, read_predictions, write_predictions

CLASSES = ("LUAD", "LUSC")


def row_of(case_id="P1", **changes):
    return {
        "case_id": case_id,
        "split": "test",
        "predicted": "LUAD",
        "prob_LUAD": 0.7,
        "prob_LUSC": 0.3,
        "modalities": "slides+genes",
        "n_slides": 1,
        "n_patches": 31,
        "gene_coverage": 1.0,
        "label": "LUSC",
        **changes,
    }


def written(path, *rows, header=None):
    header = header or list(rows[0])
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, header)
        table.writeheader()
        table.writerows(rows)
    return path


def test_the_columns_stand_in_the_documented_order():
    order = columns(("a", "b", "c"))

    assert order == (
        *("case_id", "split", "predicted", "prob_a", "prob_b", "prob_c"),
        *("modalities", "n_slides", "n_patches", "gene_coverage", "label"),
    )


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path):
    third = 1 / 3
    rows = [row_of("P1", prob_LUAD=third, prob_LUSC=1 - third), row_of("P2", split="new")]

    write_predictions(tmp_path / "p.csv", rows, classes=CLASSES)
    found = read_predictions(tmp_path / "p.csv")

    assert found.classes == CLASSES
    assert found.case_ids == ("P1", "P2")
    assert found.splits == ("test", "new")
    np.testing.assert_array_equal(found.probabilities, [[third, 1 - third], [0.7, 0.3]])
    np.testing.assert_array_equal(found.predicted, [0, 0])
    np.testing.assert_array_equal(found.labels, [1, 1])


def test_equal_predictions_are_equal_bytes(tmp_path):
    for name in ("a.csv", "b.csv"):
        write_predictions(tmp_path / name, [row_of()], classes=CLASSES)

    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    "case_id", ["007", "1e5", "-3", "+4.0", "=HYPERLINK()", "@x", "'=x", "''-3", "'", "NA", "nan"]
)
def test_a_case_id_is_text_whatever_it_looks_like(tmp_path, case_id):
    write_predictions(tmp_path / "p.csv", [row_of(case_id)], classes=CLASSES)

    assert read_predictions(tmp_path / "p.csv").case_ids == (case_id,)


@pytest.mark.parametrize("case_id", ["=HYPERLINK()", "+A1", "@SUM(A1)", "-A1"])
def test_a_formula_is_defused_in_the_file(tmp_path, case_id):
    write_predictions(tmp_path / "p.csv", [row_of(case_id)], classes=CLASSES)

    assert f"\n'{case_id}," in (tmp_path / "p.csv").read_text()


def test_an_unknown_label_is_an_empty_cell(tmp_path):
    write_predictions(tmp_path / "p.csv", [row_of(label=None)], classes=CLASSES)

    assert (tmp_path / "p.csv").read_text().endswith(",1.0,\n")
    np.testing.assert_array_equal(read_predictions(tmp_path / "p.csv").labels, [-1])


def test_a_case_without_an_answer_has_an_empty_cell_and_is_read_as_such(tmp_path):
    write_predictions(tmp_path / "p.csv", [row_of(predicted=None), row_of("P2")], classes=CLASSES)

    assert "\nP1,test,,0.7," in (tmp_path / "p.csv").read_text()
    np.testing.assert_array_equal(read_predictions(tmp_path / "p.csv").predicted, [-1, 0])


def test_labels_modalities_and_other_columns_may_be_missing(tmp_path):
    bare = {"case_id": "P1", "split": "new", "predicted": "b", "prob_a": 0, "prob_b": 1, "note": ""}

    found = read_predictions(written(tmp_path / "p.csv", bare))

    assert (found.modalities, found.folds) == (("",), ("",))
    np.testing.assert_array_equal(found.labels, [-1])


def test_a_fold_column_is_read(tmp_path):
    found = read_predictions(written(tmp_path / "p.csv", row_of(fold="3")))

    assert found.folds == ("3",)


def test_probabilities_rounded_to_three_decimals_pass(tmp_path):
    rounded = row_of(prob_LUAD="0.333", prob_LUSC="0.666")

    assert read_predictions(written(tmp_path / "p.csv", rounded)).probabilities.shape == (1, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "tset"}, ("row 3", "'split'", "'tset'", "train, val, test, new")),
        ({"predicted": "LUSK"}, ("row 3", "'predicted'", "did you mean 'LUSC'")),
        ({"label": "BRCA"}, ("row 3", "'label'", "'BRCA'")),
        ({"case_id": ""}, ("row 3", "'case_id'")),
        ({"case_id": "P1"}, ("row 3", "'case_id'", "'P1'", "also in row 2")),
        ({"prob_LUSC": 0.4}, ("row 3", "'prob_*'", "'1.1'", "sum to 1")),
        ({"prob_LUSC": "much"}, ("row 3", "'prob_LUSC'", "'much'")),
        ({"prob_LUSC": "nan"}, ("row 3", "'prob_LUSC'", "'nan'")),
        ({"prob_LUAD": 1.3, "prob_LUSC": -0.3}, ("row 3", "'prob_LUAD'", "'1.3'")),
        ({"modalities": "both"}, ("row 3", "'modalities'", "'both'")),
    ],
)
def test_a_cell_that_cannot_be_is_named_with_its_row_and_column(tmp_path, changes, words):
    path = written(tmp_path / "p.csv", row_of("P1"), row_of("P2") | changes)

    with pytest.raises(EvaluationError) as caught:
        read_predictions(path)

    assert [word for word in ("p.csv", *words) if word not in str(caught.value)] == []
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("column", ["case_id", "split", "predicted"])
def test_a_missing_column_is_named(tmp_path, column):
    kept = {name: value for name, value in row_of().items() if name != column}

    with pytest.raises(EvaluationError, match=f"no column '{column}'"):
        read_predictions(written(tmp_path / "p.csv", kept))


def test_one_probability_column_is_not_enough(tmp_path):
    kept = {name: value for name, value in row_of().items() if name != "prob_LUSC"}

    with pytest.raises(EvaluationError, match="it names 'LUAD'"):
        read_predictions(written(tmp_path / "p.csv", kept))


def test_a_table_without_rows_is_refused(tmp_path):
    path = written(tmp_path / "p.csv", header=columns(CLASSES))

    with pytest.raises(EvaluationError, match="has no row"):
        read_predictions(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        read_predictions(tmp_path / "nowhere.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")

    with pytest.raises(EvaluationError, match="cannot be read"):
        read_predictions(tmp_path / "p.csv")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.csv")

    with pytest.raises(EvaluationError, match=r"p\.csv' cannot be read: .*not a file"):
        read_predictions(tmp_path / "p.csv")
