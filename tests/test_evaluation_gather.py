"""Parts, seeds, folds and patients: what is evaluated, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from gimp_plugin.errors import EvaluationError
from gimp_plugin.evaluation.gather import gather
from gimp_plugin.evaluation.patients import averaged
from tests.prediction_factory import draw_patients, make_table, rows_of


def parts_of(path, **sizes):
    groups = [
        rows_of(draw_patients(n, seed=n), split=part, prefix=part) for part, n in sizes.items()
    ]
    return make_table(path, *groups)


def test_the_headline_is_the_test_part(tmp_path):
    found = gather([parts_of(tmp_path / "p.csv", train=31, val=13, test=11, new=17)])

    assert (found.part, len(found.patients)) == ("test", 11)


def test_without_test_cases_the_headline_is_the_new_part(tmp_path):
    found = gather([parts_of(tmp_path / "p.csv", train=31, new=17)])

    assert (found.part, len(found.patients)) == ("new", 17)


@pytest.mark.parametrize(("part", "n"), [("train", 31), ("val", 13)])
def test_fitted_parts_are_given_on_request(tmp_path, part, n):
    found = gather([parts_of(tmp_path / "p.csv", train=31, val=13)], part=part)

    assert (found.part, len(found.patients)) == (part, n)


def test_only_training_cases_are_refused(tmp_path):
    path = parts_of(tmp_path / "p.csv", train=31, val=13)

    with pytest.raises(EvaluationError, match=r"p.csv.*no test and no new case.*31 train, 13 val"):
        gather([path])


def test_a_part_that_is_not_there_is_refused(tmp_path):
    path = parts_of(tmp_path / "p.csv", test=11)

    with pytest.raises(EvaluationError, match=r"no val case.*11 test"):
        gather([path], part="val")


def test_unlabelled_cases_are_left_out_and_counted(tmp_path):
    with_labels = rows_of(draw_patients(11))
    without = rows_of(draw_patients(3), prefix="U", label=None)

    found = gather([make_table(tmp_path / "p.csv", with_labels, without)])

    assert (len(found.patients), found.n_unlabelled) == (11, 3)


def test_a_part_without_any_label_is_refused(tmp_path):
    path = make_table(tmp_path / "p.csv", rows_of(draw_patients(7), split="new", label=None))

    with pytest.raises(EvaluationError, match="none of the 7 new cases"):
        gather([path])


def test_an_absent_class_is_refused_by_name(tmp_path):
    rows = [row for row in rows_of(draw_patients(22)) if row["label"] == "LUAD"]

    with pytest.raises(EvaluationError, match=r"class 'LUSC' has no test case in .*p.csv"):
        gather([make_table(tmp_path / "p.csv", rows)])


def test_a_class_absent_from_one_fold_is_refused_with_the_file(tmp_path):
    one = make_table(tmp_path / "one.csv", rows_of(draw_patients(11)))
    rows = [row for row in rows_of(draw_patients(22), prefix="Q") if row["label"] == "LUSC"]
    two = make_table(tmp_path / "two.csv", rows)

    with pytest.raises(EvaluationError, match=r"'LUAD' has no test case in .*two.csv"):
        gather([one, two])


def test_fewer_than_five_cases_of_a_class_are_a_warning(tmp_path):
    (warning,) = gather([make_table(tmp_path / "p.csv", rows_of(draw_patients(9)))]).warnings

    assert warning.startswith("class 'LUSC' has 4 test cases")


def test_five_cases_of_each_class_are_no_warning(tmp_path):
    assert not gather([make_table(tmp_path / "p.csv", rows_of(draw_patients(10)))]).warnings


def test_tables_of_the_same_patients_are_seeds_and_averaged(tmp_path):
    seeds = [draw_patients(13, seed=seed) for seed in (1, 2, 3)]
    paths = [make_table(tmp_path / f"{place}.csv", rows_of(one)) for place, one in enumerate(seeds)]

    found = gather(paths)

    mean = np.mean([one.probabilities for one in seeds], axis=0)
    np.testing.assert_allclose(found.patients.probabilities, mean, rtol=1e-12)
    np.testing.assert_array_equal(found.patients.predicted, mean.argmax(axis=1))
    assert len(found.by_seed) == 3
    np.testing.assert_array_equal(found.by_seed[1].probabilities, seeds[1].probabilities)


def test_the_order_of_rows_does_not_matter_to_seeds(tmp_path):
    first, second = draw_patients(13, seed=1), draw_patients(13, seed=2)
    one = make_table(tmp_path / "one.csv", rows_of(first))
    two = make_table(tmp_path / "two.csv", rows_of(second)[::-1])

    found = gather([one, two])

    mean = (first.probabilities + second.probabilities) / 2
    np.testing.assert_allclose(found.patients.probabilities, mean, rtol=1e-12)


def test_tables_of_other_patients_are_folds(tmp_path):
    one = make_table(tmp_path / "one.csv", rows_of(draw_patients(13)))
    two = make_table(tmp_path / "two.csv", rows_of(draw_patients(11), prefix="Q"))

    found = gather([one, two])

    assert len(found.patients) == 24
    assert found.patients.fold_names == ("0", "1")
    assert found.by_seed == ()


def test_seeds_of_folds_are_averaged_within_the_fold(tmp_path):
    paths = [
        make_table(
            tmp_path / f"{fold}-{seed}.csv", rows_of(draw_patients(11, seed=seed), prefix=fold)
        )
        for seed in (1, 2)
        for fold in ("A", "B")
    ]

    found = gather(paths)

    assert len(found.patients) == 22
    assert [len(one) for one in found.by_seed] == [22, 22]
    assert found.patients.fold_names == ("0", "1")


def test_a_fold_that_lacks_a_seed_is_refused(tmp_path):
    names = (("A", 1), ("A", 2), ("B", 1))
    paths = [
        make_table(tmp_path / f"{fold}{seed}.csv", rows_of(draw_patients(11), prefix=fold))
        for fold, seed in names
    ]

    with pytest.raises(EvaluationError, match=r"1 seeds.* by 2"):
        gather(paths)


def test_tables_that_share_some_patients_are_refused(tmp_path):
    one = make_table(tmp_path / "one.csv", rows_of(draw_patients(13)))
    two = make_table(tmp_path / "two.csv", rows_of(draw_patients(11)))

    with pytest.raises(EvaluationError, match=r"one.csv.*two.csv.*share 11 test cases"):
        gather([one, two])


def test_a_table_that_is_given_twice_is_no_second_seed(tmp_path):
    path = make_table(tmp_path / "p.csv", rows_of(draw_patients(13)))
    (tmp_path / "copy.csv").write_bytes(path.read_bytes())

    with pytest.raises(EvaluationError, match=r"p\.csv' is given twice"):
        gather([path, path.parent / ".." / path.parent.name / "p.csv"])
    assert len(gather([path, tmp_path / "copy.csv"]).by_seed) == 2  # a model may have no randomness


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "p.csv").symlink_to("p.csv")

    with pytest.raises(EvaluationError, match=r"p\.csv' cannot be read"):
        gather([tmp_path / "p.csv"])


def test_tables_of_other_classes_are_refused(tmp_path):
    one = make_table(tmp_path / "one.csv", rows_of(draw_patients(13)))
    classes = ("LUAD", "MESO")
    two = draw_patients(11, classes=classes)
    two = make_table(tmp_path / "two.csv", rows_of(two, prefix="Q"), classes=classes)

    with pytest.raises(EvaluationError, match="'LUAD', 'MESO'"):
        gather([one, two])


def test_a_fold_column_makes_folds(tmp_path):
    path = tmp_path / "p.csv"
    make_table(path, rows_of(draw_patients(20)))
    header, *lines = path.read_text().splitlines()
    folded = [f"{line},{number // 10}" for number, line in enumerate(lines)]
    path.write_text("\n".join([f"{header},fold", *folded]) + "\n")

    assert gather([path]).patients.fold_names == ("0", "1")


def test_rows_of_one_patient_are_averaged(tmp_path):
    rows = rows_of(draw_patients(10))
    ids = ["TCGA-05-4244-01A", "TCGA-05-4245", "TCGA-05-4244-02A", *"abcdefg"]
    named = [row | {"case_id": case_id} for row, case_id in zip(rows, ids, strict=True)]

    patients = gather([make_table(tmp_path / "p.csv", named)]).patients

    assert len(patients) == 9
    assert patients.case_ids[:2] == ("TCGA-05-4244-01A", "TCGA-05-4245")
    assert patients.probabilities[0, 1] == pytest.approx(
        (rows[0]["prob_LUSC"] + rows[2]["prob_LUSC"]) / 2
    )


def test_rows_of_one_patient_with_two_labels_are_refused(tmp_path):
    rows = rows_of(draw_patients(10))
    rows[0]["case_id"], rows[1]["case_id"] = "TCGA-05-4244-01A", "TCGA-05-4244-02A"

    with pytest.raises(EvaluationError, match=r"1 case with different labels.*TCGA-05-4244-02A"):
        gather([make_table(tmp_path / "p.csv", rows)])


def test_a_patient_of_whom_a_seed_has_no_answer_has_none(tmp_path):
    seeds = [rows_of(draw_patients(13, seed=seed)) for seed in (1, 2, 3)]
    seeds[1][4]["predicted"] = None
    paths = [make_table(tmp_path / f"{place}.csv", rows) for place, rows in enumerate(seeds)]

    patients = gather(paths).patients

    expected = patients.probabilities.argmax(axis=1)
    expected[4] = -1
    np.testing.assert_array_equal(patients.predicted, expected)


def test_seeds_that_were_predicted_from_different_halves_are_a_warning(tmp_path):
    rows = rows_of(draw_patients(13))
    both = make_table(tmp_path / "both.csv", rows)
    slides = make_table(tmp_path / "s.csv", [row | {"modalities": "slides"} for row in rows[::-1]])

    (warning,) = gather([both, slides]).warnings

    assert warning.startswith("'both.csv', 's.csv' were predicted from different halves and are av")
    assert gather([both, make_table(tmp_path / "again.csv", rows[::-1])]).warnings == ()


def test_a_patient_predicted_from_either_half_counts_as_predicted_from_both():
    patients = draw_patients(6)
    slides, genes = (
        type(patients)(
            case_ids=patients.case_ids,
            classes=patients.classes,
            labels=patients.labels,
            predicted=patients.predicted,
            probabilities=patients.probabilities,
            folds=patients.folds,
            modalities=(half,) * 6,
        )
        for half in ("slides", "genes")
    )

    assert set(averaged([slides, genes]).modalities) == {"slides+genes"}
    assert set(averaged([slides, slides]).modalities) == {"slides"}
