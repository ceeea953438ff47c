from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gimp_plugin.cohort.splitting.files import split_files, write_split_files
from gimp_plugin.cohort.splitting.splits import Splits, read_folds, read_splits
from gimp_plugin.errors import ConfigError, SplitError, StaleOutputError

DX = "TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf"
PARTS = {"c": "train", "a": "train", "d": "val", "b": "test", "e": "train"}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(path: Path, fold: str | None = None) -> str:
    with pytest.raises(SplitError) as caught:
        read_splits(path, fold=fold)
    assert caught.value.exit_code == 3
    assert path.name in str(caught.value)
    return str(caught.value)


# ---- read


def test_columns_of_names_are_read_as_clam_writes_them(tmp_path: Path) -> None:
    columns = [["c", "a", "e"], ["d"], ["b"]]
    table = pd.concat(map(pd.Series, columns), ignore_index=True, axis=1)
    table.columns = ["train", "val", "test"]
    table.to_csv(tmp_path / "splits_3.csv")

    splits = read_splits(tmp_path / "splits_3.csv")

    assert splits.parts == PARTS
    assert splits.fold == "3"


def test_a_table_of_true_and_false_is_read(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {part: [own == part for own in PARTS.values()] for part in ("train", "val", "test")},
        index=list(PARTS),
    )
    table.to_csv(tmp_path / "splits_0_bool.csv")

    assert read_splits(tmp_path / "splits_0_bool.csv").parts == PARTS


def test_numbers_beside_empty_cells_stay_whole_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"train": [12, 7], "val": [5, None]}).to_csv(tmp_path / "splits_0.csv")
    table = pd.DataFrame({"train": [12.0, 7.0], "val": [5.0, None]})
    table.to_csv(tmp_path / "splits_1.csv")

    assert read_splits(tmp_path / "splits_1.csv").parts == {"12": "train", "7": "train", "5": "val"}


def test_survpath_has_train_and_val_only(tmp_path: Path) -> None:
    path = write(tmp_path / "splits_1.csv", ",train,val\n0,A,C\n1,B,\n")

    assert read_splits(path).parts == {"A": "train", "B": "train", "C": "val"}


def test_a_folder_holds_the_folds(tmp_path: Path) -> None:
    write(tmp_path / "s/splits_0.csv", ",train,val,test\n0,A,B,C\n")
    write(tmp_path / "s/splits_0_bool.csv", ",train,val,test\nZ,True,False,False\n")
    write(tmp_path / "s/splits_0_descriptor.csv", ",train,val,test\na,1,1,1\n")
    write(
        tmp_path / "s/splits_1_bool.csv",
        ",train,val,test\nA,False,False,True\nB,True,False,False\n",
    )

    assert [splits.fold for splits in read_folds(tmp_path / "s")] == ["0", "1"]
    assert read_splits(tmp_path / "s", fold="0").parts == {"A": "train", "B": "val", "C": "test"}
    assert read_splits(tmp_path / "s", fold="1").parts == {"A": "test", "B": "train"}
    with pytest.raises(ConfigError, match="has 2 folds: '0', '1'"):
        read_splits(tmp_path / "s")


def test_a_folder_of_mmp_has_a_table_a_part(tmp_path: Path) -> None:
    folder = tmp_path / "TCGA_LUAD_overall_survival_k=4"
    write(folder / "train.csv", "case_id,slide_id,age\nA,s1,3\nA,s2,3\nB,s3,4\n")
    write(folder / "test.csv", "case_id,slide_id,age\nC,s4,3\n")

    splits = read_splits(folder)

    assert splits.parts == {"A": "train", "B": "train", "C": "test"}
    assert splits.fold == "4"


def test_folds_of_ours_may_have_names(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "case_id,fold,split\nA,r1f0,train\nA,r1f1,val\n")

    assert read_splits(path, fold="r1f0").parts == {"A": "train"}


def test_slides_stand_for_their_cases(tmp_path: Path) -> None:
    path = write(tmp_path / "splits_0.csv", ",train,val\n0,s1,s3\n1,s2,\n")

    splits = read_splits(path).of_cases({"s1": "A", "s2": "A", "s3": "B"})

    assert splits.parts == {"A": "train", "B": "val"}


def test_slides_of_one_case_in_two_parts_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "splits_0.csv", ",train,val\n0,s1,s3\n")

    with pytest.raises(SplitError, match=r"1 patient is in two parts: 'A \(train and val\)'"):
        read_splits(path).of_cases({"s1": "A", "s3": "A"})


def test_tcga_slides_name_their_patient(tmp_path: Path) -> None:
    path = write(tmp_path / "splits_0.csv", f",train,val\n0,{DX},B\n")

    assert read_splits(path).within(["TCGA-05-4244", "B"]).parts == {
        "TCGA-05-4244": "train",
        "B": "val",
    }


def test_a_patient_in_two_tables_of_a_fold_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "study_k=0"
    write(folder / "train.csv", "case_id\nTCGA-05-4244\n")
    write(folder / "test.csv", "case_id\nTCGA-05-4244-01A\n")

    assert "TCGA-05-4244 and TCGA-05-4244-01A (train and test)" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",train,val\n0,A,A\n", "1 patient is in two parts: 'A (train and val)'"),
        (",train,val\nA,True,True\n", "row 2: 'A' is in two parts: 'train', 'val'"),
        ("train,val\nTrue,False\n", "row 2: no name of a slide or a case"),
        (",train,val\n,True,False\n", "row 2: no name of a slide or a case"),
        (",train,valid\n0,A,B\n", "no column 'case_id'"),
        (",train,val\n", "no row"),
    ],
)
def test_a_wrong_table_of_theirs_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(write(tmp_path / "splits_0.csv", text))


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s/splits_0_descriptor.csv", ",train\na,1\n")

    assert "has no table of splits" in refusal(tmp_path / "s")


# ---- written


def test_clams_tables_are_read_back_and_say_the_same_twice(tmp_path: Path) -> None:
    splits = Splits(parts=PARTS, source="here")

    write_split_files(split_files([splits], tmp_path, kind="clam"), overwrite=False)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["splits_0.csv", "splits_0_bool.csv"]
    for name in ("splits_0.csv", "splits_0_bool.csv"):
        assert read_splits(tmp_path / name).parts == PARTS
    names = pd.read_csv(tmp_path / "splits_0.csv", index_col=0)
    assert names["train"].tolist() == ["a", "c", "e"]
    assert names["val"].dropna().tolist() == ["d"]
    flags = pd.read_csv(tmp_path / "splits_0_bool.csv", index_col=0)
    assert flags.dtypes.tolist() == [bool] * 3
    assert flags.loc["b"].tolist() == [False, False, True]


def test_clams_tables_name_slides_where_they_are_known(tmp_path: Path) -> None:
    slides = {"a": ["s2", "s3"], "d": ["s1"], "b": ["s4"]}

    files = split_files([Splits(parts=PARTS, source="here")], tmp_path, kind="clam", slides=slides)

    assert files[tmp_path / "splits_0.csv"] == ",train,val,test\n0,s2,s1,s4\n1,s3,,\n"


def test_survpath_reports_on_our_test_part(tmp_path: Path) -> None:
    files = split_files([Splits(parts=PARTS, source="here")], tmp_path, kind="survpath")

    assert files == {tmp_path / "splits_0.csv": ",train,val\n0,a,b\n1,c,\n2,d,\n3,e,\n"}


def test_nothing_is_written_twice_or_over_something_else(tmp_path: Path) -> None:
    files = split_files([Splits(parts=PARTS, source="here")], tmp_path / "s.csv", kind="gimp")

    assert write_split_files(files, overwrite=False)
    assert not write_split_files(files, overwrite=False)
    write(tmp_path / "s.csv", "case_id,split\na,train\n")
    with pytest.raises(StaleOutputError, match=r"s\.csv' already exists with other content"):
        write_split_files(files, overwrite=False)
    assert (tmp_path / "s.csv").read_text() == "case_id,split\na,train\n"
    assert write_split_files(files, overwrite=True)


@pytest.mark.parametrize(
    "content",
    [
        "slide_id,case_id\ns,a\n",
        "case_id,split,predicted,prob_A,prob_B\na,test,A,0.9,0.1\n",  # predictions
        "name,train,val,comment\n0,a,b,mine\n",
        "train,val\na,b\n",
        "",
    ],
)
def test_a_file_that_is_no_table_of_splits_is_never_replaced(tmp_path: Path, content: str) -> None:
    files = split_files([Splits(parts=PARTS, source="here")], tmp_path / "s.csv", kind="gimp")
    write(tmp_path / "s.csv", content)

    with pytest.raises(StaleOutputError, match=r"s\.csv' already exists and is not a table of"):
        write_split_files(files, overwrite=True)

    assert (tmp_path / "s.csv").read_text() == content


@pytest.mark.parametrize("kind", ["gimp", "clam", "survpath"])
def test_each_of_our_tables_is_replaced_with_overwrite(tmp_path: Path, kind: str) -> None:
    output = tmp_path / "s.csv" if kind == "gimp" else tmp_path
    old, new = ({**PARTS, "b": part} for part in ("train", "test"))
    write_split_files(
        split_files([Splits(parts=old, source="here")], output, kind=kind), overwrite=False
    )
    files = split_files([Splits(parts=new, source="here")], output, kind=kind)

    assert write_split_files(files, overwrite=True)
    assert all(path.read_text() == text for path, text in files.items())


def test_tables_of_other_folds_are_not_mixed_in(tmp_path: Path) -> None:
    write(tmp_path / "splits_5.csv", ",train,val\n0,A,B\n")
    files = split_files([Splits(parts=PARTS, source="here")], tmp_path, kind="survpath")

    with pytest.raises(StaleOutputError, match=r"other splits: 'splits_5\.csv'"):
        write_split_files(files, overwrite=True)

    assert [path.name for path in tmp_path.iterdir()] == ["splits_5.csv"]
