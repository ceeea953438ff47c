"""`gimp check`: its page, its JSON and its exit codes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from tests.audit_factory import balanced_labels, log_values, standardise_within
from tests.cohort_factory import make_cohort


@pytest.fixture
def gimp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(cli, ["check", *words])


def write_cohort(path, values=None, **options):
    values = log_values() if values is None else values
    options = {"n_cases": 83, "n_genes": 61, "declared": "log2"} | options
    return make_cohort(path, values=values.astype(np.float32), **options)


def test_a_cohort_without_faults_ends_with_0_and_a_line_a_check(gimp, tmp_path):
    path = write_cohort(tmp_path / "genes.h5ad")
    before = path.read_bytes()

    result = gimp("--adata", "genes.h5ad")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# Check of genes.h5ad: 83 cases, 61 genes\n")
    assert "\nok      scale                              log2, as declared\n" in result.stdout
    assert result.stdout.endswith("Nothing found.\n")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["genes.h5ad"]


def test_a_finding_ends_with_4_and_says_why_and_what_to_do(gimp, tmp_path):
    values = standardise_within(log_values(), balanced_labels(83))
    write_cohort(tmp_path / "genes.h5ad", values, declared="standardised")

    result = gimp("--adata", "genes.h5ad")

    assert result.exit_code == 4
    assert "\nFINDING standardised within groups" in result.stdout
    assert "\n1 finding.\n\n## standardised within groups\n" in result.stdout
    assert "\n- Why it matters: each group" in result.stdout
    assert "\n- What to do: go back to the table" in result.stdout


def test_json_is_for_programs(gimp, tmp_path):
    write_cohort(tmp_path / "genes.h5ad", obs={"site": balanced_labels(83)})

    result = gimp("--adata", "genes.h5ad", "--json")

    found = json.loads(result.stdout)
    assert result.exit_code == 4
    assert (found["n_cases"], found["n_genes"], found["n_findings"]) == (83, 61, 1)
    site = {check["check"]: check for check in found["checks"]}["site = label"]
    assert (site["verdict"], site["numbers"]["n_sites"]) == ("finding", 2)


def test_what_training_refuses_is_found_and_the_other_checks_go_on(gimp, tmp_path):
    values = log_values()
    values[3, 4] = np.nan
    with pytest.warns(UserWarning, match="not unique"):
        write_cohort(tmp_path / "genes.h5ad", values, case_ids=[f"P{max(1, n)}" for n in range(83)])

    result = gimp("--adata", "genes.h5ad")

    assert result.exit_code == 4, result.output
    assert "FINDING finite values" in result.stdout
    assert "FINDING duplicate cases" in result.stdout
    assert "ok      class balance" in result.stdout


def test_a_table_of_slides_that_cannot_be_read_is_not_blamed_on_the_splits(gimp, tmp_path):
    write_cohort(tmp_path / "genes.h5ad")
    (tmp_path / "splits.csv").write_text("case_id,split\nP00,train\nP01,test\n")
    (tmp_path / "slides.csv").write_text("slide,case_id\ns,P00\n")

    result = gimp("--adata", "genes.h5ad", "--splits", "splits.csv", "--slide-table", "slides.csv")

    assert result.exit_code == 4
    assert "'slides.csv'" in result.stdout
    assert "'slide_id'" in result.stdout
    assert "whose cases are needed" in result.stdout
    assert "training refuses" not in result.stdout


def test_a_fold_without_splits_is_refused(gimp, tmp_path):
    write_cohort(tmp_path / "genes.h5ad")

    result = gimp("--adata", "genes.h5ad", "--fold", "7")

    assert result.exit_code == 2
    assert "--fold '7' was given without --splits" in result.stderr


def test_splits_that_cannot_be_read_are_a_finding(gimp, tmp_path):
    write_cohort(tmp_path / "genes.h5ad")
    (tmp_path / "splits.csv").write_text("case_id,split\nP00,train\nP00,test\n")

    result = gimp("--adata", "genes.h5ad", "--splits", "splits.csv")

    assert result.exit_code == 4
    assert "1 patient is in two parts" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("--adata", "none.h5ad"), 3, "none.h5ad"),
        (("--adata", "text.h5ad"), 3, "text.h5ad"),
        (("--adata", "genes.h5ad", "--features", "none"), 3, "'none'"),
        (("--adata", "genes.h5ad", "--layer", "raw"), 3, "no layer 'raw'"),
        (("--adata", "genes.h5ad", "--site-key", "lable"), 3, "did you mean 'label'"),
        (("--adata", "genes.h5ad", "--scale", "lgo2"), 2, "did you mean 'log2'"),
        ((), 2, "--adata"),
    ],
)
def test_what_cannot_be_read_at_all_is_refused(gimp, tmp_path, words, code, part):
    write_cohort(tmp_path / "genes.h5ad")
    (tmp_path / "text.h5ad").write_text("no HDF5")

    result = gimp(*words)

    assert result.exit_code == code, result.output
    assert part in result.stderr
    assert result.stdout == ""


def test_the_page_is_written_whole_and_another_file_is_not_replaced(gimp, tmp_path):
    write_cohort(tmp_path / "genes.h5ad")
    (tmp_path / "mine.md").write_text("mine")

    assert gimp("--adata", "genes.h5ad", "-o", "report.md").exit_code == 0
    assert gimp("--adata", "genes.h5ad", "-o", "report.json").exit_code == 0
    refused = gimp("--adata", "genes.h5ad", "-o", "mine.md", "--overwrite")

    assert (tmp_path / "report.md").read_text() == gimp("--adata", "genes.h5ad").stdout
    assert json.loads((tmp_path / "report.json").read_text())["n_findings"] == 0
    assert refused.exit_code == 3
    assert "mine.md" in refused.stderr
    assert (tmp_path / "mine.md").read_text() == "mine"


def test_hostile_names_do_not_break_the_page(gimp, tmp_path):
    ids = [f"P{case}\n## <script>" if case < 2 else f"P{case}" for case in range(83)]
    values = log_values()
    values[1] = values[0]
    write_cohort(tmp_path / "genes.h5ad", values, case_ids=ids)

    result = gimp("--adata", "genes.h5ad")

    assert result.exit_code == 4
    assert "\n## <script>" not in result.stdout
    assert "P0 ## <script> = P1 ## <script>" in result.stdout


def test_classes_may_come_from_a_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_cohort(tmp_path / "genes.h5ad", labels=["a"] * 41, n_genes=17)
    rows = "".join(f"P{case:02d},{'xy'[case % 2]}\n" for case in range(41))
    (tmp_path / "labels.csv").write_text(f"patient,kind\n{rows}")
    table = ("--labels", "labels.csv", "--case-key", "patient", "--label-key", "kind")

    alone = CliRunner().invoke(cli, ["check", "--adata", "genes.h5ad"])
    beside = CliRunner().invoke(cli, ["check", "--adata", "genes.h5ad", *table])
    gone = CliRunner().invoke(cli, ["check", "--adata", "genes.h5ad", "--labels", "gone.csv"])

    assert "FINDING labels" in alone.stdout
    assert "2 classes: x, y" in beside.stdout
    assert gone.exit_code == 3
    assert "no table 'gone.csv'" in gone.stderr
