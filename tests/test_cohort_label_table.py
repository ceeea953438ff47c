"""A table of cases: what it may look like, and how it joins a cohort's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gimp_plugin.cohort.label_table import joined, read_label_table
from gimp_plugin.errors import CohortError, MissingFileError, PairingError
from gimp_plugin.storage.tables import write_csv


def written(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_read_as_text_with_its_gaps(tmp_path: Path) -> None:
    path = written(tmp_path, "case_id,label,age\nP1,LUAD,61\nP2,LUSC,NA\n P3 ,,7\n")

    table = read_label_table(path, label_key="label")

    assert table.index.tolist() == ["P1", "P2", "P3"]
    assert table["label"].tolist() == ["LUAD", "LUSC", None]
    assert table["age"].tolist() == ["61", None, "7"]


def test_a_clinical_table_of_the_gdc_is_read_by_its_own_key(tmp_path: Path) -> None:
    text = "case_id\tcase_submitter_id\tstage\nu-1\tTCGA-05-4244\tI\nu-2\tTCGA-05-4249\t'--\n"
    path = written(tmp_path, text, "clinical.tsv")

    table = read_label_table(path, case_key="case_submitter_id")

    assert table.index.tolist() == ["TCGA-05-4244", "TCGA-05-4249"]
    assert table["stage"].tolist() == ["I", None]


def test_one_row_a_slide_becomes_one_row_a_case(tmp_path: Path) -> None:
    text = "case_id,slide_id,label,stain\nP1,b,LUAD,1\nP2,c,LUSC,1\nP1,a,LUAD,2\n"

    table = read_label_table(written(tmp_path, text), label_key="label")

    assert table.loc["P1"].tolist() == ["b;a", "LUAD", None]
    assert table.loc["P2"].tolist() == ["c", "LUSC", "1"]


@pytest.mark.parametrize(("first", "second"), [("P1", "P1"), ("TCGA-05-4244", "TCGA-05-4244-01A")])
def test_a_patient_of_two_classes_is_refused(tmp_path: Path, first: str, second: str) -> None:
    path = written(tmp_path, f"case_id,label\n{first},LUAD\n{second},LUSC\n")

    with pytest.raises(CohortError) as caught:
        read_label_table(path, label_key="label")

    assert f"column 'label' of {str(path)!r}: {first!r} is 'LUAD', {second!r} is 'LUSC'" in str(
        caught.value
    )


def test_what_is_no_table_of_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no table .*gone\.csv"):
        read_label_table(tmp_path / "gone.csv")
    with pytest.raises(CohortError, match=r"has no column 'case_id', did you mean 'caseid'\?"):
        read_label_table(written(tmp_path, "caseid,label\nP1,x\n"))
    with pytest.raises(CohortError, match="row 3: case_id is empty"):
        read_label_table(written(tmp_path, "case_id,label\nP1,x\n,y\n"))
    with pytest.raises(CohortError, match="has no row"):
        read_label_table(written(tmp_path, "case_id,label\n"))


def test_the_table_says_more_and_first() -> None:
    obs = pd.DataFrame(
        {"label": ["a", "b", "a"], "age": [1, 2, 3]}, index=["TCGA-05-4244", "P2", "P3"]
    )
    table = pd.DataFrame(
        {"label": ["x", "y", None], "age": ["9", None, None], "site": ["s", None, "t"]},
        index=["TCGA-05-4244-01A", "NEW", "P2"],
        dtype=object,
    )

    both = joined(obs, table, label_key="label", where="'t.csv'")

    assert both.index.tolist() == ["TCGA-05-4244", "P2", "P3", "NEW"]
    assert both["label"].tolist() == ["x", None, None, "y"]
    assert both["age"].tolist() == ["9", 2, 3, None]
    assert both["site"].tolist() == ["s", "t", None, None]
    assert obs["age"].tolist() == [1, 2, 3]


def test_without_classes_in_the_table_the_cohorts_own_stay() -> None:
    obs = pd.DataFrame({"label": ["a", "b"]}, index=["P1", "P2"])
    table = pd.DataFrame({"fold": ["0", "1"]}, index=["P2", "P1"], dtype=object)

    both = joined(obs, table, label_key="label", where="'t.csv'")

    assert both["label"].tolist() == ["a", "b"]
    assert both["fold"].tolist() == ["1", "0"]


def test_a_patient_of_two_rows_is_not_guessed() -> None:
    rows = ["TCGA-05-4244-01A", "TCGA-05-4244-02A", "P3"]
    obs = pd.DataFrame({"label": ["a", "a", "b"]}, index=rows)
    table = pd.DataFrame({"age": ["1", "2"]}, index=["TCGA-05-4244", "P3"], dtype=object)

    both = joined(obs, table, label_key="label", where="'t.csv'")

    assert both["age"].tolist() == [None, None, "2", "1"]


def test_two_tables_of_other_cases_are_refused() -> None:
    obs = pd.DataFrame({"label": ["a"]}, index=["P1"])
    table = pd.DataFrame({"label": ["a"]}, index=["uuid-1"], dtype=object)

    with pytest.raises(PairingError, match=r"no case of 't\.csv' is in the cohort: 'uuid-1'"):
        joined(obs, table, label_key="label", where="'t.csv'")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_parting_of_cells_and_their_gaps_are_told_by_the_text(
    tmp_path: Path, delimiter: str
) -> None:
    rows = [("# comment",), ("case_id", "label", "race"), ("P1", "a", "[Not Available]")]
    path = written(tmp_path, "".join(delimiter.join(row) + "\n" for row in rows))

    table = read_label_table(path)

    assert table.loc["P1"].tolist() == ["a", None]


def test_a_defused_name_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_csv(path, [{"case_id": "=A()", "label": "-"}], columns=["case_id", "label"])

    assert read_label_table(path).to_dict("index") == {"=A()": {"label": "-"}}
