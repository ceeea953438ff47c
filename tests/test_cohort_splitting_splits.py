from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.cohort.splitting.splits import (
    Splits,
    draw_splits,
    read_splits,
    same_case,
    splits_from_column,
    write_splits,
)
from gimp_plugin.errors import ConfigError, MissingFileError, SplitError

SIZES = st.dictionaries(st.sampled_from("abcd"), st.integers(3, 23), min_size=1)


def labels_of_sizes(sizes: dict[str, int]) -> dict[str, str]:
    return {f"{label}{case:02d}": label for label, size in sizes.items() for case in range(size)}


def counts(splits: Splits, part: str, labels: dict[str, str]) -> Counter[str]:
    return Counter(labels[case_id] for case_id in splits.of(part))


# ---- drawn


@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1))
def test_each_case_is_in_one_part_and_each_class_in_every_part(
    sizes: dict[str, int], seed: int
) -> None:
    labels = labels_of_sizes(sizes)

    splits = draw_splits(labels, seed=seed)

    assert list(splits.parts) == list(labels)
    for part, share in {"train": 0.6, "val": 0.2, "test": 0.2}.items():
        for label, size in sizes.items():
            found = counts(splits, part, labels)[label]
            assert found >= 1
            assert abs(found - share * size) < 2


@given(sizes=SIZES, seed=st.integers(0, 99), shuffle=st.integers(0, 99))
def test_the_draw_does_not_depend_on_the_order_of_the_cases(
    sizes: dict[str, int], seed: int, shuffle: int
) -> None:
    labels = labels_of_sizes(sizes)
    names = np.random.default_rng(shuffle).permutation(list(labels)).tolist()

    shuffled = draw_splits({case_id: labels[case_id] for case_id in names}, seed=seed)

    assert shuffled.parts == draw_splits(labels, seed=seed).parts


def test_another_seed_draws_other_parts() -> None:
    labels = labels_of_sizes({"a": 20, "b": 13})

    assert draw_splits(labels, seed=1).parts != draw_splits(labels, seed=2).parts


def test_the_papers_cohort_falls_into_the_papers_parts() -> None:
    labels = labels_of_sizes({"a": 501, "b": 445})

    splits = draw_splits(labels, seed=0)

    assert [len(splits.of(part)) for part in ("train", "val", "test")] == [567, 189, 190]


def test_samples_of_a_patient_stay_together() -> None:
    labels = {f"TCGA-05-{case:04d}-01{vial}": "ab"[case % 2] for case in range(20) for vial in "AB"}

    splits = draw_splits(labels, seed=3)

    assert all(splits.parts[case_id] == splits.parts[case_id[:-1] + "A"] for case_id in labels)


@pytest.mark.parametrize(("size", "cases"), [(1, "1 case,"), (2, "2 cases,")])
def test_a_class_too_small_for_three_parts_is_named(size: int, cases: str) -> None:
    with pytest.raises(SplitError, match=f"class 'b' has {cases} expected at least 3") as caught:
        draw_splits(labels_of_sizes({"a": 9, "b": size}), seed=0)

    assert caught.value.exit_code == 3


# ---- from a column


def table_of(labels: dict[str, str], folds: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"fold": folds}, index=list(labels))


@pytest.mark.parametrize("kind", [int, float, str, "category"])
def test_a_value_of_a_column_is_the_test_part(kind: Any) -> None:
    labels = labels_of_sizes({"a": 25, "b": 50})
    obs = table_of(labels, [case % 5 for case in range(75)]).astype({"fold": kind})

    splits = splits_from_column(obs, "fold", "2", labels=labels, seed=0)

    assert splits.of("test") == tuple(obs.index[2::5])
    assert counts(splits, "val", labels) == {"a": 4, "b": 8}
    assert len(splits.of("train")) == 48
    assert (splits.source, splits.fold) == ("obs:fold, fold 2", "2")


def test_only_cases_with_a_class_are_split() -> None:
    labels = labels_of_sizes({"a": 10, "b": 10})
    obs = table_of(labels, [case % 2 for case in range(20)])
    del labels["a03"]

    assert list(splits_from_column(obs, "fold", "1", labels=labels, seed=0).parts) == list(labels)


def test_an_unknown_column_offers_the_nearest() -> None:
    labels = labels_of_sizes({"a": 5})

    with pytest.raises(SplitError, match="no column 'folds', did you mean 'fold'"):
        splits_from_column(table_of(labels, [0] * 5), "folds", "0", labels=labels, seed=0)


def test_an_unknown_value_names_the_known_ones() -> None:
    labels = labels_of_sizes({"a": 6})

    with pytest.raises(SplitError, match=r"no fold '7'.*'0', '1'"):
        splits_from_column(table_of(labels, [0, 1] * 3), "fold", "7", labels=labels, seed=0)


def test_several_folds_of_a_column_need_a_choice() -> None:
    labels = labels_of_sizes({"a": 6})

    with pytest.raises(ConfigError, match="--fold") as caught:
        splits_from_column(table_of(labels, [0, 1] * 3), "fold", None, labels=labels, seed=0)

    assert caught.value.exit_code == 2


def test_cases_without_a_fold_are_listed() -> None:
    labels = labels_of_sizes({"a": 6})

    with pytest.raises(SplitError, match="2 cases have no value: 'a01', 'a04'"):
        splits_from_column(
            table_of(labels, [0, None, 1, 0, None, 1]), "fold", "0", labels=labels, seed=0
        )


def test_a_patient_with_samples_in_two_folds_is_refused() -> None:
    labels = dict.fromkeys(["TCGA-05-0001-01A", "TCGA-05-0001-01B", "x", "y"], "a")

    with pytest.raises(SplitError, match="1 patient is in two parts"):
        splits_from_column(table_of(labels, [0, 1, 0, 1]), "fold", "0", labels=labels, seed=0)


# ---- from a table


def write(tmp_path: Path, contents: str) -> Path:
    path = tmp_path / "splits.csv"
    path.write_text(contents)
    return path


def test_without_a_fold_column_it_is_fold_0(tmp_path: Path) -> None:
    path = write(tmp_path, "case_id,split\nA,train\nB,val\n")

    assert read_splits(path).parts == {"A": "train", "B": "val"}
    assert read_splits(path, fold="0").fold == "0"


def test_one_of_several_folds_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "case_id,fold,split\nA,0,train\nA,1,test\nB,1,val\n")

    assert read_splits(path, fold="1").parts == {"A": "test", "B": "val"}


def test_several_folds_need_a_choice(tmp_path: Path) -> None:
    path = write(tmp_path, "case_id,fold,split\nA,0,train\nA,1,test\n")

    with pytest.raises(
        ConfigError, match=r"splits\.csv' has 2 folds: '0', '1' \(choose one with --fold"
    ):
        read_splits(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"splits\.csv"):
        read_splits(tmp_path / "splits.csv")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("case_id,split\nA,train\nA,test\n", "1 patient is in two parts: 'A (train and test)'"),
        (
            "case_id,split\nTCGA-05-4244-01A,train\nTCGA-05-4244-11A,val\n",
            "'TCGA-05-4244-01A and TCGA-05-4244-11A (train and val)'",
        ),
        ("case_id,split\nA,train\nB,valid\n", "case 'B' is in the unknown part 'valid', did you"),
        ("case_id,split\nA,train\n,val\n", "row 3: case_id is empty"),
        ("case,split\nA,train\n", "no column 'case_id', did you mean 'case'?"),
        ("case_id,part\nA,train\n", "no column 'split'"),
        ("case_id,split\n", "no row"),
        ("", "no row"),
        ("case_id,fold,split\nA,3,train\n", "no fold '0'"),
    ],
)
def test_a_wrong_table_is_refused_and_left_alone(
    tmp_path: Path, contents: str, message: str
) -> None:
    path = write(tmp_path, contents)

    with pytest.raises(SplitError) as caught:
        read_splits(path, fold="0")

    assert message in str(caught.value)
    assert "splits.csv" in str(caught.value)
    assert caught.value.exit_code == 3
    assert path.read_text() == contents


@given(
    parts=st.dictionaries(
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
        st.sampled_from(["train", "val", "test"]),
        min_size=1,
    ).filter(lambda parts: not any(map(begins_like_a_guard, parts))),
    fold=st.integers(0, 4),
)
def test_a_table_reads_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, parts: dict[str, str], fold: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "splits.csv"

    write_splits(path, Splits(parts=parts, source="here", fold=str(fold)))

    again = read_splits(path, fold=str(fold))
    assert again.parts == dict(sorted(parts.items()))
    assert again.fold == str(fold)


def begins_like_a_guard(case_id: str) -> bool:
    """Whether a cell looks like one that was defused for spreadsheets."""
    return case_id[:1] == "'" and case_id[1:2] in {"=", "+", "-", "@"}


# ---- some of the cases


def test_within_takes_the_part_of_the_patient() -> None:
    splits = Splits(parts={"TCGA-05-4244": "val", "B": "train", "C": "test"}, source="here")

    assert splits.within(["C", "TCGA-05-4244-01A", "X"]).parts == {
        "C": "test",
        "TCGA-05-4244-01A": "val",
    }


def test_a_barcode_and_its_patient_are_the_same_case() -> None:
    assert same_case("TCGA-05-4244-01A-01R-1107-07") == same_case("TCGA-05-4244")
