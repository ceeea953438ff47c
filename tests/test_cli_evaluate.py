"""`gimp evaluate`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from tests.prediction_factory import draw_patients, make_table, rows_of


@pytest.fixture
def gimp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_table(tmp_path / "predictions.csv", rows_of(draw_patients(41)))
    make_table(tmp_path / "other-0.csv", rows_of(draw_patients(41, seed=5)))
    return lambda *words: CliRunner().invoke(cli, ["evaluate", *words])


def test_without_arguments_predictions_csv_is_evaluated(gimp):
    result = gimp()

    assert result.exit_code == 0
    assert result.stdout.startswith("predictions.csv: 41 test cases (21 LUAD, 20 LUSC)")
    assert "| AUC (LUSC positive)" in result.stdout
    assert result.stderr == ""


def test_json_is_for_programs(gimp):
    result = gimp("--json")

    found = json.loads(result.stdout)
    assert (found["part"], found["n_cases"], found["n_unlabelled"]) == ("test", 41, 0)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(0.8, abs=0.2)


def test_an_evaluation_is_written_as_json_or_markdown_by_its_name(gimp, tmp_path):
    assert gimp("-o", "e.json").exit_code == 0
    assert gimp("--json", "-o", "e.md").exit_code == 0

    assert json.loads((tmp_path / "e.json").read_text())["n_cases"] == 41
    assert (tmp_path / "e.md").read_text() == gimp().stdout


def test_the_same_evaluation_may_be_written_again(gimp):
    assert [gimp("-o", "e.md").exit_code for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("name", ["e.md", "e.json"])
def test_another_evaluation_is_not_replaced_without_overwrite(gimp, tmp_path, name):
    gimp("-o", name, "--seed", "1")
    before = (tmp_path / name).read_text()

    refused = gimp("-o", name)

    assert refused.exit_code == 3
    assert f"'{name}'" in refused.stderr
    assert (tmp_path / name).read_text() == before
    assert gimp("-o", name, "--overwrite").exit_code == 0
    assert (tmp_path / name).read_text() != before


@pytest.mark.parametrize(
    "content",
    [
        "case_id,split\n",
        "# My paper\n\nA table:\n\n| metric | value |\n| --- | --- |\n",
        '{"paper": {"by_class": {}}}\n',
        "[" * 100_000,
        "",
    ],
)
def test_a_file_that_is_no_evaluation_is_not_replaced_at_all(gimp, tmp_path, content):
    (tmp_path / "mine.md").write_text(content)

    refused = gimp("-o", "mine.md", "--overwrite")

    assert refused.exit_code == 3
    assert "'mine.md' already exists and is not a result of this command" in refused.stderr
    assert (tmp_path / "mine.md").read_text() == content


def test_a_folder_as_output_is_a_wrong_usage(gimp, tmp_path):
    result = gimp("-o", str(tmp_path))

    assert result.exit_code == 2


def test_another_system_is_compared(gimp):
    result = gimp("--compare", "other-0.csv")

    assert result.exit_code == 0
    assert "| other-0.csv" in result.stdout
    assert "McNemar" in result.stdout


def test_a_pattern_stands_for_the_tables_of_one_system(gimp, tmp_path):
    make_table(tmp_path / "other-1.csv", rows_of(draw_patients(41, seed=6)))

    found = json.loads(gimp("--json", "--compare", "other-*.csv").stdout)

    assert [one["other"] for one in found["comparisons"]] == ["other-0.csv and 1 more"]


def test_a_pattern_stands_for_the_tables_that_are_evaluated(gimp, tmp_path):
    make_table(tmp_path / "other-1.csv", rows_of(draw_patients(41, seed=6)))

    named, matched = gimp("other-0.csv", "other-1.csv"), gimp("other-*.csv")

    assert named.exit_code == matched.exit_code == 0
    assert matched.stdout == named.stdout
    assert gimp("nothing-*.csv").exit_code == 3


def test_a_system_is_called_by_the_name_before_its_tables_unless_that_is_a_file(gimp, tmp_path):
    make_table(tmp_path / "late=0.csv", rows_of(draw_patients(41, seed=6)))

    words = ("--compare", "late=other-*.csv", "--compare", "late=0.csv")
    found = json.loads(gimp("--json", *words).stdout)

    assert [one["other"] for one in found["comparisons"]] == ["late", "late=0.csv"]


@pytest.mark.parametrize("given", ["nothing-*.csv", "name=nothing-*.csv", "a/b=nothing-*.csv"])
def test_a_pattern_that_fits_nothing_is_refused(gimp, given):
    result = gimp("--compare", given)

    assert result.exit_code == 3
    assert "nothing-*.csv" in result.stderr


def test_only_training_cases_are_refused_unless_asked_for_by_name(gimp, tmp_path):
    """Row 94 of the bad inputs."""
    make_table(tmp_path / "fit.csv", rows_of(draw_patients(21), split="train"))
    before = sorted(tmp_path.iterdir())

    refused, asked = gimp("fit.csv", "-o", "e.md"), gimp("fit.csv", "--part", "train")

    assert refused.exit_code == 3
    assert refused.stdout == ""
    assert "'fit.csv' has no test and no new case, only 21 train" in refused.stderr
    assert "--part train" in refused.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert asked.exit_code == 0
    assert "FITTED ON THESE CASES" in asked.stdout


def test_a_damaged_cell_is_named_with_file_row_and_column(gimp, tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text(path.read_text().replace(",test,", ",tst,", 1))

    result = gimp()

    assert result.exit_code == 3
    assert "'predictions.csv', row 2, column 'split': 'tst'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_table_is_named(gimp):
    result = gimp("nowhere.csv")

    assert result.exit_code == 3
    assert "nowhere.csv" in result.stderr


def test_an_unknown_part_offers_the_nearest(gimp):
    result = gimp("--part", "tset")

    assert result.exit_code == 2
    assert "test" in result.stderr


def test_few_cases_are_a_warning_on_stderr(gimp, tmp_path):
    make_table(tmp_path / "few.csv", rows_of(draw_patients(9)))

    result = gimp("few.csv")

    assert result.exit_code == 0
    assert "class 'LUSC' has 4 test cases" in result.stderr


@pytest.mark.parametrize(
    ("is_terminal", "words", "n_logged"), [(True, (), 0), (True, ("--json",), 1), (False, (), 1)]
)
def test_on_a_terminal_a_warning_is_said_once(gimp, monkeypatch, is_terminal, words, n_logged):
    make_table(Path("few.csv"), rows_of(draw_patients(9)))
    monkeypatch.setattr("gimp_plugin.cli.logs.is_terminal", lambda: is_terminal)

    result = gimp("few.csv", *words)

    said = "class 'LUSC' has 4 test cases"
    assert (result.stdout.count(said), result.stderr.count(said)) == (1, n_logged)
