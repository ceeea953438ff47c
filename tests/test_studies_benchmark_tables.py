"""The tables of a comparison: the paper's rows, LaTeX, one row a training, what it took."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from gimp_plugin.cohort.splitting.folds import FoldPlan, draw_folds
from gimp_plugin.cohort.splitting.splits import splits_text
from gimp_plugin.evaluation import evaluate
from gimp_plugin.evaluation.text import interval
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.benchmark.folder import Cost
from gimp_plugin.studies.benchmark.latex import escaped
from gimp_plugin.studies.benchmark.memory import Watch, resident
from gimp_plugin.studies.benchmark.methods import METHODS, chosen
from gimp_plugin.studies.benchmark.printed import PRINTED, SETS, in_order
from tests.benchmark_factory import benchmark, cell, evaluations
from tests.study_factory import make_study

pytestmark = pytest.mark.timeout(300)
N_CASES = 16
CLASSES = ("A_1 & {b}", "~B% #$^\\")
QUICK = ("--methods", "logistic-genes,logistic-bag")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    fold = [case // 2 % 2 for case in range(N_CASES)]
    folder = tmp_path_factory.mktemp("inputs")
    return make_study(folder, n_cases=N_CASES, classes=CLASSES, obs={"fold": fold})


@pytest.fixture(scope="module")
def quick(source, tmp_path_factory):
    """Folder of a comparison over two folds and two seeds."""
    output = tmp_path_factory.mktemp("quick") / "study"
    result = benchmark(source, output, *QUICK, "--seeds", 2)
    assert result.exit_code == 0, result.stderr
    return output


def stand_in(monkeypatch, *, broken=()):
    """Let every method be a logistic regression, but for those that fail."""

    def train(cell):
        if cell.place.method in broken:
            raise ValueError("no luck")
        return logistic(cell)

    logistic = METHODS["logistic-genes"].train
    for name, method in list(METHODS.items()):
        monkeypatch.setitem(METHODS, name, replace(method, train=train))


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: f"{row.table} {row.row}")
def test_each_printed_accuracy_is_of_the_one_count_that_gives_it(row):
    counts = [
        (n_right, n_cases)
        for n_cases in (189, 190)
        for n_right in range(n_cases + 1)
        if f"{n_right / n_cases:.4f}" == row.accuracy
    ]

    # 188 of 189 are 0.9947 as well; the text has 190 test cases
    expected = (
        [(188, 189), (189, 190)] if row.accuracy == "0.9947" else [(row.n_right, row.n_cases)]
    )
    assert counts == ([] if row.n_cases is None else expected)


def test_the_sets_are_the_rows_of_the_paper():
    assert [len(SETS[name]) for name in ("table1", "table2")] == [14, 6]
    assert all(len(set(names)) == len(names) for names in SETS.values())
    assert set(chosen(["table2"])) == set(SETS["table2"])
    assert set(chosen(["table1"])) == set(SETS["table1"])
    assert set(chosen(["table2", "abmil"])) == {*SETS["table2"], "abmil"}


def test_what_the_paper_prints_stands_beside_what_was_measured(source, tmp_path, monkeypatch):
    stand_in(monkeypatch)
    output = tmp_path / "s"

    result = benchmark(source, output, "--methods", "table2,abmil", "--fold", 0)

    assert result.exit_code == 0, result.stderr
    columns = ("paper_table2_accuracy", "paper_table2_cases")
    rows = {row["method"]: row for row in read_csv(output / "table.csv")}
    printed = {name: tuple(row[column] for column in columns) for name, row in rows.items()}
    assert printed["gimp-snn"] == ("0.9684", "184/190")
    assert printed["gimp"] == ("0.9974", "")
    assert printed["abmil"] == ("", "")  # a row of the other table
    table = result.stdout.partition("95 % intervals")[0]
    lines = {line.split()[1]: line for line in table.splitlines() if line[:2] == "| "}
    assert lines["gimp-snn"].endswith("| 0.9684 (184/190) |")
    assert lines["gimp"].endswith("|           0.9974 |")
    assert "on its own cohort and split, not ours" in result.stdout
    paper = evaluations(output)["gimp-mpm"]["paper"]
    assert paper == {"table2": {"row": "MPM", "accuracy": "0.9579", "cases": "182/190"}}
    assert "paper" not in evaluations(output)["abmil"]


def test_without_its_tables_the_paper_is_not_shown(quick):
    assert "paper" not in "".join((quick / f"table.{kind}").read_text() for kind in ("md", "csv"))


def test_a_row_of_a_table_that_fails_leaves_the_others(source, tmp_path, monkeypatch):
    stand_in(monkeypatch, broken={"gimp-snn"})
    output = tmp_path / "s"

    result = benchmark(source, output, "--methods", "table2", "--fold", 1)

    assert result.exit_code == 4
    assert [row["item"] for row in read_csv(output / "failures.csv")] == [
        "gimp-snn, fold 1, seed 0"
    ]
    found = evaluations(output)
    assert {name for name, one in found.items() if one["evaluation"] is None} == {"gimp-snn"}
    assert len(read_csv(output / "cells.csv")) == len(SETS["table2"]) - 1
    text = (output / "table.tex").read_text()
    assert r"gimp-snn & 0 of 1 cells done &  & 0.9684 (184/190) \\" in text
    rows = [*SETS["table2"]]
    assert [row["method"] for row in read_csv(output / "table.csv")] == rows
    assert re.findall("^([a-z-]+) &", text, re.MULTILINE) == ["method", *rows] * 2
    assert (
        re.findall(r"^\| ([a-z][a-z-]*) +\|", result.stdout, re.MULTILINE)[1 : len(rows) + 1]
        == rows
    )


def test_rows_of_both_tables_stand_as_in_the_paper_and_other_methods_behind():
    methods = chosen(["all", "table2", "table1"])

    found = in_order(methods, ["table2", "table1"])

    first = [*SETS["table1"], "gimp-snn", "gimp-mpm", "gimp-image-triplet", "gimp-triplet"]
    assert list(found[: len(first)]) == first
    assert list(found[len(first) :]) == [name for name in methods if name not in first]
    assert in_order(methods, []) == methods


def test_tables_name_no_file(quick):
    for kind in ("md", "csv", "json", "tex"):
        assert "predictions.csv" not in (quick / f"table.{kind}").read_text()


def test_latex_has_the_cells_of_the_markdown_and_no_bare_character(quick):
    text = (quick / "table.tex").read_text()

    body = "\n".join(text.replace("{%\n", "{\n").splitlines()[1:])  # without comments
    bare = re.sub(r"\\[&%$#_{}]|\\[a-zA-Z]+|\$[+-][\d.]+\$", "", body)
    assert not set("%#$_^~") & set(bare)
    assert body.count("{") == body.count("}")
    assert r"8 A\_1 \& \{b\}, 8 \textasciitilde{}B\% \#\$\textasciicircum{}\textbackslash{}" in body
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    n_columns = [len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows]
    assert n_columns == [3] * 3 + [5] + [7] * 3 + [4] * 3
    row = next(one for one in read_csv(quick / "table.csv") if one["method"] == "logistic-bag")
    ends = interval(float(row["auc_low"]), float(row["auc_high"])).replace("-", "--")
    assert f" & {float(row['auc']):.3f} ({ends}) \\\\" in body
    assert f" & ${float(row['auc_difference']):+.3f}$ & " in body
    assert "Differences: the method less logistic-genes." in body


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_sets_it_without_an_error_and_no_wider_than_a_page(quick, tmp_path):
    (tmp_path / "page.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
        rf"\input{{{quick / 'table.tex'}}}\end{{document}}"
    )

    words = ("pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert (tmp_path / "page.pdf").stat().st_size > 0


def test_text_is_escaped_once_and_line_breaks_go():
    assert escaped("a_b &\n\n%#") == r"a\_b \& \%\#"
    assert escaped("\\[x]{}") == r"\textbackslash{}{[}x]\{\}"
    assert escaped('"a"|b\x07') == r"''a''\textbar{}b"


def test_each_training_has_a_row_with_its_own_scores(quick):
    rows = read_csv(quick / "cells.csv")

    keys = [(row["method"], row["fold"], row["seed"]) for row in rows]
    assert len(set(keys)) == len(keys) == 8
    for row, (method, fold, seed) in zip(rows, keys, strict=True):
        table = read_csv(cell(quick, method, fold, int(seed)) / "predictions.csv")
        tested = [one for one in table if one["split"] == "test"]
        second = sorted(CLASSES)[1]
        truth = [one["label"] == second for one in tested]
        scores = [float(one[f"prob_{second}"]) for one in tested]
        expected = [
            accuracy_score(truth, [one["predicted"] == second for one in tested]),
            roc_auc_score(truth, scores),
            log_loss(truth, scores),
        ]
        found = [float(row[name]) for name in ("accuracy", "auc", "log_loss")]
        assert found == pytest.approx(expected, abs=1e-12)
        assert int(row["n_cases"]) == len(tested)
        assert (row["chosen_epoch"], row["predict_seconds_a_slide"]) == ("", "")


def test_repeated_partitions_are_tested_by_their_folds(source, tmp_path):
    labels = {f"P{case:02d}": CLASSES[case % 2] for case in range(N_CASES)}
    folds = draw_folds(labels, FoldPlan(n_folds=2, n_repeats=2))
    (tmp_path / "splits.csv").write_text(splits_text(folds))

    result = benchmark(source, tmp_path / "s", *QUICK, splits=tmp_path / "splits.csv")

    assert result.exit_code == 0, result.stderr
    row = next(
        one for one in read_csv(tmp_path / "s" / "table.csv") if one["method"] == "logistic-bag"
    )
    patterns = [f"cells/{name}/*/predictions.csv" for name in ("logistic-genes", "logistic-bag")]
    reference, other = (sorted((tmp_path / "s").glob(one)) for one in patterns)
    (expected,) = evaluate(reference, others=[other]).comparisons
    assert row["test"] == expected.test == "corrected resampled t"
    assert (row["n_cases"], row["n_folds"]) == ("16", "4")
    low, high = expected.auc_difference_ends
    ends = [float(row[f"auc_difference_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx([-high, -low])
    assert float(row["auc_p"]) == pytest.approx(expected.auc_p)
    assert "4 folds of repeated partitions" in result.stdout
    assert "McNemar" not in result.stdout
    latex = (tmp_path / "s" / "table.tex").read_text()
    ends = f"${-expected.auc_difference:+.3f}$ (${-high:+.3f}$ to ${-low:+.3f}$)"
    assert ends in latex


def test_a_network_says_which_epoch_it_was_kept_from_and_what_it_took(source, tmp_path):
    result = benchmark(source, tmp_path / "s", "--methods", "abmil,late-fusion", "--fold", 0)

    assert result.exit_code == 0, result.stderr
    rows = {row["method"]: row for row in read_csv(tmp_path / "s" / "cells.csv")}
    costs = {row["method"]: row for row in read_csv(tmp_path / "s" / "costs.csv")}
    assert rows["abmil"]["chosen_epoch"] in {"1", "2"}
    assert rows["late-fusion"]["chosen_epoch"] == ""
    for table in (rows, costs):
        assert float(table["abmil"]["predict_seconds_a_slide"]) > 0
        peaks = [float(table[name]["peak_memory_mib"]) for name in ("abmil", "logistic-genes")]
        assert float(table["late-fusion"]["peak_memory_mib"]) >= max(peaks)
        assert table["abmil"]["peak_gpu_memory_mib"] == ""


def test_memory_is_what_the_work_took_at_most_and_not_what_came_before():
    size = 96 * 2**20
    before = np.ones(size, np.uint8)
    del before
    watch = Watch(torch.device("cpu"))
    nothing = watch.memory - resident("VmRSS")
    held = resident("VmRSS")
    during = np.ones(size, np.uint8)
    del during

    assert nothing < size / 4
    assert (
        0.98 * size < watch.memory - held < 1.5 * size
    )  # the system counts pages of threads in lots
    assert watch.gpu_memory is None


def test_costs_of_two_add_up_and_share_the_larger_peak():
    first = Cost(n_parameters=3, n_settings=1, seconds=2.0, chosen_epoch=4, peak_memory=7)
    second = Cost(n_parameters=5, n_settings=6, seconds=1.0, predict_seconds=0.5)

    both = first + second

    assert both == Cost(
        n_parameters=8, n_settings=7, seconds=3.0, predict_seconds=0.5, peak_memory=7
    )
