from __future__ import annotations

import pytest

from gimp_plugin.cohort.splitting.splits import Splits, check_ancestry, check_splits
from gimp_plugin.errors import SplitError

LABELS = {f"{label}{case}": label for label in "ab" for case in range(15)}


def splits_of(**changes: str) -> Splits:
    parts = {case_id: ("train", "val", "test")[int(case_id[1:]) // 5] for case_id in LABELS}
    return Splits(parts={**parts, **changes}, source="'splits.csv'")


def refusal(splits: Splits, labels: dict[str, str] | None = None) -> str:
    with pytest.raises(SplitError) as caught:
        check_splits(splits, labels or LABELS)
    assert caught.value.exit_code == 3
    assert "'splits.csv'" in str(caught.value)
    return str(caught.value)


def test_sound_splits_pass_without_a_word() -> None:
    assert check_splits(splits_of(), LABELS) == []


def test_a_patient_in_two_parts_is_refused() -> None:
    splits = splits_of(**{"TCGA-05-4244-01A": "train", "tcga-05-4244-11A": "test"})

    assert "TCGA-05-4244-01A and tcga-05-4244-11A (train and test)" in refusal(splits)


def test_an_unknown_part_is_refused() -> None:
    message = refusal(splits_of(a3="Train"))

    assert "case 'a3' is in the unknown part 'Train', did you mean 'train'?" in message


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_empty_part_is_refused(part: str) -> None:
    others = {case_id: name for case_id, name in splits_of().parts.items() if name != part}

    message = refusal(Splits(parts=others, source="'splits.csv'"))

    assert f"the part {part!r} is empty" in message


def test_a_part_whose_cases_are_all_left_out_is_empty() -> None:
    labels = {case_id: label for case_id, label in LABELS.items() if int(case_id[1:]) // 5 != 1}

    message = refusal(splits_of(), labels)

    assert "the part 'val' is empty" in message
    assert "10 cases that it names are not used here: 'a5', 'a6', 'a7' and 7 more" in message


def test_no_test_part_is_warned_of() -> None:
    parts = {case_id: part for case_id, part in splits_of().parts.items() if part != "test"}

    warnings = check_splits(Splits(parts=parts, source="s"), LABELS)

    assert any("no case is in 'test'" in warning for warning in warnings)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_class_that_is_absent_from_a_part_is_named(part: str) -> None:
    elsewhere = "val" if part == "train" else "train"
    moved = {case_id: elsewhere for case_id in splits_of().of(part) if case_id.startswith("b")}

    assert f"part {part!r} has no case of class 'b'" in refusal(splits_of(**moved))


def test_fewer_than_5_cases_of_a_class_are_warned_of_once() -> None:
    (one,) = check_splits(splits_of(b5="train"), LABELS)
    (two,) = check_splits(splits_of(b5="train", a10="train"), LABELS)

    assert "fewer than 5 cases of a class in val ('b' 4): " in one
    assert "val ('b' 4), test ('a' 4): " in two


def test_cases_that_one_side_lacks_are_counted() -> None:
    splits = splits_of(zz="train")
    labels = {**LABELS, "new": "a"}

    assert check_splits(splits, labels) == [
        "'splits.csv': 1 case is in the splits but not used here: 'zz'",
        "'splits.csv': 1 case has no part in the splits: 'new'",
    ]


# ---- ancestry


def test_training_cases_of_an_ancestor_may_stay_in_train() -> None:
    check_ancestry(splits_of(), ["a0", "b1", "somebody"])


@pytest.mark.parametrize(("case_id", "part"), [("a7", "val"), ("b12", "test")])
def test_a_case_that_was_trained_on_is_listed(case_id: str, part: str) -> None:
    with pytest.raises(SplitError) as caught:
        check_ancestry(splits_of(), ["a0", case_id], where="'runs/pretrain'")

    assert f"1 of 10 {part} cases were training cases of 'runs/pretrain'" in str(caught.value)
    assert f"{case_id!r}" in str(caught.value)
    assert caught.value.exit_code == 3


def test_every_such_case_of_both_parts_is_listed() -> None:
    trained = [case_id for case_id in LABELS if int(case_id[1:]) >= 5]

    with pytest.raises(SplitError) as caught:
        check_ancestry(splits_of(), trained)

    assert all(repr(case_id) in str(caught.value) for case_id in trained)


def test_tcga_cases_are_compared_by_their_patient() -> None:
    splits = splits_of(**{"TCGA-05-4244": "test"})

    with pytest.raises(SplitError, match="'TCGA-05-4244'"):
        check_ancestry(splits, ["TCGA-05-4244-01A-01R"])
