"""`gimp benchmark` from beginning to end: all methods on two folds and two seeds."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.plugins import registry
from gimp_plugin.storage.runs import read_run
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.benchmark.methods import METHODS, chosen
from tests.benchmark_factory import (
    benchmark,
    cell,
    evaluations,
    files,
    probabilities,
    tables,
)
from tests.study_factory import make_study

N_CASES, N_GENES, FEATURE_DIM = 20, 17, 11
CONTROLS = "gimp-shuffled,swapped"
ROWS = ("gimp-snn", "gimp-mpm", "gimp-image-triplet", "gimp-triplet")
ELSEWHERE = {*registry().names("system"), *registry().names("trainer"), *ROWS} - {"gimp"}
SHORT = [name for name in METHODS if name not in ELSEWHERE]
"""Methods but for those that differ from others by settings alone: they have their own test."""
TABLE = "predictions.csv"
PLACES = [(fold, seed) for fold in (0, 1) for seed in (0, 1)]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A comparison of everything."""
    folder = tmp_path_factory.mktemp("whole")
    source = make_study(
        folder,
        n_cases=N_CASES,
        n_genes=N_GENES,
        n_patches=(3, 9),
        obs={"fold": [case // 2 % 2 for case in range(N_CASES)]},
    )
    words = ("--methods", ",".join(SHORT), "--seeds", 2)
    result = benchmark(source, folder / "study", *words)
    return SimpleNamespace(source=source, output=folder / "study", words=words, result=result)


def evaluated(*words):
    """What `gimp evaluate --json` prints."""
    result = CliRunner().invoke(cli, ["evaluate", "--json", *map(str, words)])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def predictions(whole, method):
    """Tables of a method, as the shell sorts them."""
    return sorted(whole.output.glob(f"cells/{method}/*/predictions.csv"))


def test_every_method_has_figures_over_two_folds_and_two_seeds(whole):
    rows = read_csv(whole.output / "table.csv")

    assert whole.result.exit_code == 0, whole.result.stderr
    assert [row["method"] for row in rows] == SHORT
    columns = ("n_cells", "n_done", "n_cases", "n_folds", "n_seeds")
    assert {tuple(row[name] for name in columns) for row in rows} == {("4", "4", "20", "2", "2")}
    assert not (whole.output / "failures.csv").exists()


def test_the_tables_are_printed_and_progress_goes_to_stderr(whole):
    table = (whole.output / "table.md").read_text()

    assert whole.result.stdout.startswith(table)
    assert table.startswith("20 test cases (10 LUAD, 10 LUSC), regime full, 2 folds, probabilities")
    assert "Each seed alone (lowest-highest):" in table
    assert "[1/52] gimp, fold 0, seed 0: done in " in whole.result.stderr
    assert " left\n" in whole.result.stderr
    assert "[52/52] swapped, fold 1, seed 1: done in " in whole.result.stderr
    warned = [line for line in whole.result.stderr.splitlines() if line.startswith("Warning: ")]
    assert len(warned) == len(set(warned)) > 0


@pytest.mark.parametrize("method", ["gimp", "abmil", "logistic-both", "late-fusion", "swapped"])
def test_the_figures_are_those_of_gimp_evaluate(whole, method):
    alone = evaluated(*predictions(whole, method))

    found = evaluations(whole.output)[method]["evaluation"]

    for name in ("metrics", "by_class", "by_modalities", "by_seed", "n_cases", "n_seeds"):
        assert found[name] == alone[name]


def test_tables_of_two_methods_are_not_averaged_without_a_word(whole):
    one, two = (cell(whole.output, method) / TABLE for method in ("logistic-genes", "logistic-bag"))
    network = cell(whole.output, "gimp", seed=1) / TABLE

    found = [
        [text for text in evaluated(*paths)["warnings"] if "of one system" in text]
        for paths in ((one, two), (one, network), predictions(whole, "logistic-genes"))
    ]

    (baselines,), (mixed,), nothing = found
    assert 'kind: "logistic-genes" -> "logistic-bag"' in baselines
    assert '"logistic-genes" -> "finetune"' in mixed
    assert nothing == []


def test_the_tests_are_those_of_gimp_evaluate_against_all_others(whole):
    others = [name for name in SHORT if name != "gimp"]
    patterns = [f"{whole.output}/cells/{name}/*/predictions.csv" for name in others]
    words = [word for pattern in patterns for word in ("--compare", pattern)]
    expected = evaluated(*predictions(whole, "gimp"), *words)["comparisons"]

    found = evaluations(whole.output)

    for name, one in zip(others, expected, strict=True):
        for score in ("accuracy", "auc"):
            assert found[name][f"{score}_difference"] == -one[f"{score}_difference"]
            assert found[name][f"{score}_p"] == one[f"{score}_p"]
            assert found[name][f"{score}_p_holm"] == one[f"{score}_p_holm"]
    assert found["gimp"]["auc_p"] is None


def test_the_csv_says_what_the_json_says(whole):
    found = evaluations(whole.output)

    for row in read_csv(whole.output / "table.csv"):
        own = found[row["method"]]
        for name in ("accuracy", "auc", "brier"):
            stored = own["evaluation"]["metrics"][name]
            assert [float(row[key]) for key in (name, f"{name}_low", f"{name}_high")] == [
                stored[key] for key in ("value", "low", "high")
            ]
        assert row["auc_p_holm"] == ("" if own["auc_p_holm"] is None else str(own["auc_p_holm"]))
        seeds = own["evaluation"]["by_seed"]["AUC"]
        assert float(row["auc_lowest_seed"]) == min(seeds)
        assert float(row["auc_highest_seed"]) == max(seeds)


def test_all_methods_predict_the_same_test_patients_of_each_fold(whole):
    parts = {
        (fold, seed): {
            tuple(sorted(r["case_id"] for r in read_csv(table) if r["split"] == "test"))
            for name in SHORT
            for table in [cell(whole.output, name, fold, seed) / "predictions.csv"]
        }
        for fold, seed in PLACES
    }

    assert {len(tested) for tested in parts.values()} == {1}
    assert parts[0, 0] == parts[0, 1]
    ((first,), (second,)) = (parts[fold, 0] for fold in (0, 1))
    assert not set(first) & set(second)
    assert len({*first, *second}) == N_CASES


def test_parameters_settings_and_seconds_are_told(whole):
    costs = {row["method"]: row for row in read_csv(whole.output / "costs.csv")}
    run = read_run(cell(whole.output, "gimp-slides") / "finetune")

    sizes = {name: int(row["n_parameters"]) for name, row in costs.items()}
    assert sizes["gimp-slides"] == run.metrics["n_parameters"]
    assert sizes["logistic-genes"] == N_GENES + 1
    assert sizes["logistic-both"] == N_GENES + FEATURE_DIM + 1
    assert sizes["late-fusion"] == sizes["abmil"] + sizes["logistic-genes"]
    settings = {name: row["n_settings"] for name, row in costs.items()}
    assert (settings["gimp"], settings["logistic-bag"], settings["late-fusion"]) == ("1", "5", "6")
    assert all(float(row["seconds"]) > 0 for row in costs.values())
    assert costs["swapped"]["seconds"] == costs["gimp"]["seconds"]


def test_late_fusion_is_the_mean_of_the_logits_of_its_parts(whole):
    genes, slides, both = (
        probabilities(cell(whole.output, name, 1, 1))
        for name in ("logistic-genes", "abmil", "late-fusion")
    )

    logits = {
        case: sum(math.log(p[case] / (1 - p[case])) for p in (genes, slides)) / 2 for case in both
    }
    expected = {case: 1 / (1 + math.exp(-logit)) for case, logit in logits.items()}

    assert both == pytest.approx(expected, abs=1e-12)


def test_abmil_is_what_finetune_trains_by_that_name(whole, tmp_path):
    place = cell(whole.output, "abmil", 1, 1)
    words = ["--adata", whole.source.adata, "--features", whole.source.features, "--seed", 1]
    words += ["--splits", whole.output / "splits.csv", "--fold", 1, "--from", "none"]
    words += ["--modalities", "slides", "--aggregator", "abmil", "-o", tmp_path / "run"]
    words += ["--config", whole.output.parent / "settings.toml"]

    result = CliRunner().invoke(cli, ["finetune", *map(str, words)])

    assert result.exit_code == 0, result.stderr
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert model == (place / "finetune" / "model.safetensors").read_bytes()


def test_no_test_patient_keeps_its_slide_when_they_are_swapped(whole):
    place = cell(whole.output, "swapped", 1, 1)
    case_of = {row["slide_id"]: row["case_id"] for row in read_csv(place / "slides.csv")}
    rows = {row["case_id"]: row for row in read_csv(place / "predictions.csv")}
    own = {row["case_id"]: row for row in read_csv(cell(whole.output, "gimp", 1, 1) / TABLE)}

    moved = {case for slide, case in case_of.items() if slide != case}

    assert moved == {case for case, row in rows.items() if row["split"] == "test"}
    assert all(
        rows[case]["n_patches"] == own[slide]["n_patches"] for slide, case in case_of.items()
    )
    same = {case for case in rows if rows[case]["prob_LUSC"] == own[case]["prob_LUSC"]}
    assert same == rows.keys() - moved


def test_shuffled_labels_are_of_no_class_in_training_and_true_in_the_table(whole):
    place = cell(whole.output, "gimp-shuffled", 0, 1)
    drawn = {row["case_id"]: row["label"] for row in read_csv(place / "labels.csv")}
    rows = read_csv(place / TABLE)
    true = {row["case_id"]: row["label"] for row in read_csv(cell(whole.output, "gimp") / TABLE)}

    assert {row["case_id"]: row["label"] for row in rows} == true
    assert all(drawn[row["case_id"]] == row["label"] for row in rows if row["split"] == "test")
    training = [row["case_id"] for row in rows if row["split"] == "train"]
    kept = [sum(drawn[one] == true[one] == name for one in training) for name in ("LUAD", "LUSC")]
    assert kept == [2, 2]  # half of 4 cases each


def test_the_same_command_does_nothing_and_changes_no_file(whole):
    before = files(whole.output)

    again = benchmark(whole.source, whole.output, *whole.words)

    assert again.exit_code == 0
    assert again.stdout.endswith("study: nothing to do\n")
    assert "52 of 52 cells are done" in again.stderr
    assert files(whole.output) == before


def test_some_methods_and_another_reference_only_need_another_table(whole):
    before = files(whole.output / "cells")
    complete = tables(whole.output)

    found = benchmark(
        *(whole.source, whole.output, "--methods", "abmil,late-fusion", "--json"),
        *("--reference", "late-fusion", "--fold", 1, "--report-only"),
    )
    again = benchmark(whole.source, whole.output, *whole.words)

    stored = json.loads(found.stdout)
    assert (stored["reference"], stored["folds"]) == ("late-fusion", ["1"])
    assert list(stored["methods"]) == ["abmil", "late-fusion", "logistic-genes"]
    assert stored["methods"]["abmil"]["evaluation"]["n_cases"] == N_CASES // 2
    assert stored["methods"]["late-fusion"]["auc_difference"] is None
    assert files(whole.output / "cells") == before
    assert again.exit_code == 0
    assert tables(whole.output) == complete


def test_all_stands_for_everything_but_what_takes_part_by_name_only():
    by_name = {"gimp-slides-none", *CONTROLS.split(","), *ROWS}
    assert set(METHODS) - set(chosen(["all"])) == by_name
    assert chosen(["swapped"]) == ("gimp", "swapped")
    for name, method in METHODS.items():
        assert all(list(METHODS).index(need) < list(METHODS).index(name) for need in method.needs)
