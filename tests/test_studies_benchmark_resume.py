"""Comparisons that were interrupted, that fail in part, or that find another one in the way."""

from __future__ import annotations

import time

import pytest

from gimp_plugin.errors import SafetyError
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.benchmark.cells import Method
from gimp_plugin.studies.benchmark.methods import METHODS
from gimp_plugin.training import loop
from tests.benchmark_factory import SETTINGS, benchmark, cell, epochs, evaluations, files, tables
from tests.forkserver import FORKED
from tests.plugin_factory import installing
from tests.study_factory import make_study

N_CASES = 16
CHAIN = ("--methods", "gimp,late-fusion")  # and with it abmil and logistic-genes
QUICK = ("--methods", "logistic-genes,logistic-bag")


pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Inputs of all comparisons."""
    fold = [case // 2 % 2 for case in range(N_CASES)]
    folder = tmp_path_factory.mktemp("inputs")
    return make_study(folder, n_cases=N_CASES, n_patches=(3, 9), obs={"fold": fold})


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """Folder of an uninterrupted comparison that trains networks."""
    output = tmp_path_factory.mktemp("whole") / "study"
    result = benchmark(source, output, *CHAIN)
    assert result.exit_code == 0, result.stderr
    return output


def interrupted(source, output, monkeypatch, *, at):
    """Start a comparison, and press Ctrl-C after a certain checkpoint."""
    left = [at]
    save = loop.save_checkpoint

    def saving(*arguments):
        save(*arguments)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save_checkpoint", saving)
        return benchmark(source, output, *CHAIN)


@pytest.mark.slow
@pytest.mark.parametrize("at", [4, 11])  # in a pre-training, and in abmil
def test_an_interrupted_comparison_goes_on_and_ends_with_the_same_tables(
    source, whole, tmp_path, monkeypatch, at
):
    stopped = interrupted(source, tmp_path / "s", monkeypatch, at=at)
    done = {name: one for name, one in files(tmp_path / "s").items() if name.endswith("cell.json")}

    ended = benchmark(source, tmp_path / "s", *CHAIN)

    assert (stopped.exit_code, ended.exit_code) == (130, 0)
    assert tables(tmp_path / "s") == tables(whole)
    assert epochs(tmp_path / "s") == epochs(whole)  # none of them twice
    assert files(tmp_path / "s").items() >= done.items()


def run(source, output):
    benchmark(source, output, *CHAIN)


@pytest.mark.slow
def test_a_comparison_that_is_killed_ends_with_the_same_tables(source, whole, tmp_path):
    output = tmp_path / "s"
    process = FORKED.Process(target=run, args=(source, output))
    process.start()
    while process.is_alive() and not (cell(output, "gimp", 1) / "pretrain/resume").exists():
        time.sleep(0.001)
    process.kill()
    process.join()
    before = files(output)
    done = {name: one for name, one in before.items() if "/fold-0-" in name}

    ended = benchmark(source, output, *CHAIN)

    assert process.exitcode == -9
    assert sum(name.endswith("/cell.json") for name in before) == 4
    assert ended.exit_code == 0
    assert "4 of 8 cells are done" in ended.stderr
    assert tables(output) == tables(whole)
    assert files(output).items() >= done.items()


def test_a_damaged_table_of_predictions_is_made_again(source, tmp_path):
    output = tmp_path / "s"
    benchmark(source, output, *QUICK)
    first, table = tables(output), cell(output, "logistic-bag") / "predictions.csv"
    good = table.read_bytes()
    table.write_bytes(good.replace(b"0.", b"0.0", 1))

    again = benchmark(source, output, *QUICK)

    assert "[4/4] logistic-bag, fold 0, seed 0: done" in again.stderr
    assert table.read_bytes() == good
    assert tables(output) == first


def failing(monkeypatch, error=None, *, name="broken", needs=(), seeds=(0, 1)):
    """Register a method that fails on fold 1 with some seeds."""

    def train(cell):
        if error is not None and cell.place.fold == "1" and cell.place.seed in seeds:
            raise error
        return METHODS["logistic-genes"].train(cell)

    method = Method(name=name, summary="fails", train=train, needs=needs)
    monkeypatch.setitem(METHODS, name, method)


BROKEN = ("--methods", "logistic-genes,logistic-bag,broken")


def test_a_method_that_fails_stops_no_other(source, tmp_path, monkeypatch):
    output = tmp_path / "s"
    failing(monkeypatch, RuntimeError("no\nsuch luck"))

    result = benchmark(source, output, *BROKEN)

    assert result.exit_code == 4
    assert "1 of 6 cells failed" in result.stderr
    assert read_csv(output / "failures.csv") == [
        {
            "item": "broken, fold 1, seed 0",
            "stage": "benchmark",
            "error": "RuntimeError",
            "message": "no such luck",
        }
    ]
    found = evaluations(output)
    assert found["logistic-bag"]["evaluation"]["n_folds"] == 2
    assert found["broken"]["evaluation"] is None
    assert "| broken         |   1 of 2 cells done |" in (output / "table.md").read_text()


def test_a_seed_that_fails_on_a_fold_is_left_out_and_the_table_says_so(
    source, tmp_path, monkeypatch
):
    failing(monkeypatch, ValueError("no luck"), seeds=(1,))

    result = benchmark(source, tmp_path / "s", *BROKEN, "--seeds", 2)

    found = evaluations(tmp_path / "s")
    assert result.exit_code == 4
    assert [found[name]["evaluation"]["n_seeds"] for name in ("broken", "logistic-bag")] == [1, 2]
    assert "| broken (3 of 4 cells) |" in result.stdout


def test_what_failed_is_tried_again_and_its_list_goes(source, tmp_path, monkeypatch):
    output = tmp_path / "s"
    failing(monkeypatch, ValueError("not yet"))
    first = benchmark(source, output, *BROKEN)
    second = benchmark(source, output, *BROKEN)
    others = benchmark(source, output, *QUICK)
    listed = read_csv(output / "failures.csv")
    failing(monkeypatch)

    third = benchmark(source, output, *BROKEN)

    assert [one.exit_code for one in (first, second, others, third)] == [4, 4, 0, 0]
    assert [row["item"] for row in listed] == ["broken, fold 1, seed 0"]
    assert not (output / "failures.csv").exists()
    assert evaluations(output)["broken"]["auc_difference"] == 0.0


def test_what_needs_a_failed_method_fails_with_its_name(source, tmp_path, monkeypatch):
    failing(monkeypatch, ValueError("no"), name="abmil")

    result = benchmark(source, tmp_path / "s", "--methods", "late-fusion")

    rows = read_csv(tmp_path / "s" / "failures.csv")
    assert result.exit_code == 4
    assert [row["item"] for row in rows] == ["abmil, fold 1, seed 0", "late-fusion, fold 1, seed 0"]
    assert "needs the predictions of abmil, fold 1, seed 0, which failed" in rows[1]["message"]


def test_when_everything_fails_it_is_3(source, tmp_path, monkeypatch):
    failing(monkeypatch, ValueError("no luck"))

    words = ("--methods", "broken", "--fold", 1)
    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 3
    assert "none of 1 cells could be done: no luck" in result.stderr
    assert len(read_csv(tmp_path / "s" / "failures.csv")) == 1


def test_a_file_that_means_harm_stops_everything(source, tmp_path, monkeypatch):
    failing(monkeypatch, SafetyError("it carries code"))

    result = benchmark(source, tmp_path / "s", "--methods", "broken,logistic-bag")

    assert result.exit_code == 7
    assert not (tmp_path / "s" / "failures.csv").exists()


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (("--seed", 1), "seed: 0 -> 1"),
        (("--preset", "paper"), "config.finetune.choose_by"),
        (("--regime", "labels:3"), "regime"),
        (("--scale", "log2"), "inputs.expression"),
    ],
)
def test_another_comparison_in_the_folder_is_refused(source, tmp_path, words, difference):
    output = tmp_path / "study"
    benchmark(source, output, *QUICK)
    before = files(output)

    refused = benchmark(source, output, *QUICK, *words)
    reported = benchmark(source, output, *QUICK, *words, "--report-only")

    for result in (refused, reported):
        assert result.exit_code == 3
        assert "study' holds a comparison made from other inputs: " in result.stderr
        assert difference in result.stderr
    assert files(output) == before


def test_overwrite_makes_another_comparison_of_the_folder(source, tmp_path):
    output = tmp_path / "s"
    benchmark(source, output, *QUICK)
    (output / "cells" / "mine.txt").write_text("mine")

    result = benchmark(source, output, *QUICK, "--regime", "genes:5", "--overwrite")
    fresh = benchmark(source, tmp_path / "t", *QUICK, "--regime", "genes:5")

    assert (result.exit_code, fresh.exit_code) == (0, 0)
    assert tables(output) == tables(tmp_path / "t")
    assert (output / "cells" / "mine.txt").read_text() == "mine"


def test_a_folder_with_other_files_is_refused_even_with_overwrite(source, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").write_text("mine")

    result = benchmark(source, tmp_path / "s", *QUICK, "--overwrite")

    assert result.exit_code == 3
    assert "files unrelated to a comparison: 'thesis.tex'" in result.stderr
    assert [path.name for path in (tmp_path / "s").glob("[!.]*")] == ["thesis.tex"]


def test_nothing_to_report_on_is_3(source, tmp_path):
    result = benchmark(source, tmp_path / "s", "--report-only")

    assert result.exit_code == 3
    assert "s' holds no comparison" in result.stderr
    assert not (tmp_path / "s").exists()


def test_an_unfinished_comparison_is_reported_on_by_the_folds_that_are_done(source, tmp_path):
    output = tmp_path / "s"
    benchmark(source, output, *QUICK, "--fold", 1)

    result = benchmark(source, output, *QUICK, "--report-only")
    some = benchmark(source, output, "--methods", "all", "--report-only")

    assert result.exit_code == 0
    start = "8 test cases (4 LUAD, 4 LUSC), regime full, 1 of 2 folds: the others are not done.\n"
    assert result.stdout.startswith(start)
    assert "| logistic-bag (1 of 2 cells)   |" in result.stdout
    assert some.stdout.startswith("Regime full: no fold is done by all methods.")


def test_more_seeds_and_methods_add_to_what_is_there(source, tmp_path):
    output = tmp_path / "s"
    benchmark(source, output, "--methods", "logistic-genes")
    before = files(output / "cells")

    more = benchmark(source, output, *QUICK, "--seeds", 2)

    assert more.exit_code == 0
    assert "2 of 8 cells are done" in more.stderr
    assert files(output / "cells").items() >= before.items()
    assert evaluations(output)["logistic-genes"]["n_cells"] == 4


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--methods", "abml"), 2, "unknown method 'abml', did you mean 'abmil'?"),
        (("--methods", "gmp+model.dim=8"), 2, "unknown method 'gmp', did you mean 'gimp'?"),
        (("--methods", "gimp+model.dimm=8"), 2, "unknown key [model] 'dimm', did you mean 'dim'?"),
        (("--methods", "gimp+model.dim=x"), 2, "[model] dim = 'x' has the wrong type"),
        (
            ("--methods", "gimp+model.aggregator=abml"),
            2,
            "unknown aggregator 'abml', did you mean 'abmil'?",
        ),
        (("--methods", "swapped+model.dim=8"), 2, "'swapped' is not a network with settings"),
        (("--methods", "gimp+dim"), 2, "unknown method 'gimp+dim'"),
        (("--methods", ","), 2, "no method to run"),
        (("--reference", "abmil", *QUICK), 2, "the reference 'abmil' does not take part"),
        (("--regime", "label:5"), 2, "unknown regime 'label:5', did you mean 'labels'?"),
        (("--regime", "genes:0"), 2, "regime 'genes:0' needs a number above 0"),
        (("--seeds", 0), 2, "seeds = 0 is out of range"),
        (("--fold", 2), 3, "there is no fold '2'"),
        (("--regime", "labels:99"), 3, "training cases, regime labels:99 needs 99"),
        (("--regime", "genes:99"), 3, "genes.h5ad' has 17 genes, regime genes:99 needs 99"),
        (("--splits", "obs:fld"), 3, "obs has no column 'fld', did you mean 'fold'?"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    source, tmp_path, words, code, message
):
    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == code
    assert message in result.stderr
    assert not (tmp_path / "s").exists()


def test_an_unknown_component_is_refused_before_anything_is_written(source, tmp_path):
    (tmp_path / "settings.toml").write_text(SETTINGS.replace("[model]", "[model]\nhead = 'liner'"))

    result = benchmark(source, tmp_path / "s")

    assert result.exit_code == 2
    assert "unknown head 'liner', did you mean 'linear'?" in result.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("P{0:02d},a,{1}\nP{0:02d},b,{1}\n", "are test cases of folds 'a' and 'b'"),
        ("P{0:02d},a,{2}\n", "has no test case"),
    ],
)
def test_folds_without_or_with_common_test_cases_are_refused(source, tmp_path, rows, message):
    parts = ("train", "val", "test", "train")
    text = "".join(
        rows.format(case, parts[case // 2 % 4], parts[case // 2 % 2]) for case in range(N_CASES)
    )
    (tmp_path / "splits.csv").write_text(f"case_id,fold,split\n{text}")

    result = benchmark(source, tmp_path / "s", splits=str(tmp_path / "splits.csv"))

    assert result.exit_code == 3
    assert message in result.stderr
    assert not (tmp_path / "s").exists()


HEAD = """
    from torch import nn
    from gimp_plugin.plugins import hookimpl

    class Head(nn.Linear):
        def __init__(self, config, *, in_dim, n_classes):
            super().__init__(in_dim, n_classes)

    @hookimpl
    def gimp_components():
        return [("head", "theirs", "their_plugin:Head", "one layer")]
"""


def test_cells_of_another_version_or_code_of_a_plugin_are_not_mixed_with_new_ones(source, tmp_path):
    method = "abmil+model.head=theirs"
    words = ("--methods", f"logistic-bag,{method}", "--fold", 0)
    output = tmp_path / "study"
    edited = HEAD.replace("super().__init__(in_dim", "print; super().__init__(in_dim")
    results = {}
    for name, source_code, version in (
        ("first", HEAD, "2.1"),
        ("again", HEAD, "2.1"),
        ("edited", edited, "2.1"),
        ("updated", HEAD, "3.0"),
    ):
        with installing(tmp_path / name) as install:
            install("their-plugin", source_code, entry="theirs", version=version)
            results[name] = benchmark(source, output, *words)
            if name == "updated":
                tabled = benchmark(source, output, *words, "--report-only")
                trained = benchmark(source, output, *words, "--overwrite")

    assert [one.exit_code for one in results.values()] == [0, 0, 3, 3], results["first"].stderr
    assert "nothing to do" in results["again"].output
    assert "theirs of their-plugin 2.1 (code " in results["edited"].stderr
    assert "1 of 2 cells in" in results["updated"].stderr
    assert f"{method}.head: " in results["updated"].stderr
    assert '-> "theirs of their-plugin 3.0 (code ' in results["updated"].stderr
    assert tabled.exit_code == 3
    assert trained.exit_code == 0, trained.stderr
    assert "1 of 2 cells are done" in trained.stderr
