"""`gimp pretrain`, `finetune` and `predict`: what becomes of their options."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from gimp_plugin.cli import given, options
from gimp_plugin.cli.commands import load
from gimp_plugin.cli.main import cli
from gimp_plugin.cohort.scales import SCALES
from gimp_plugin.config import PRESETS, CohortSource, Runtime, load_preset
from gimp_plugin.training.ranks import Ranks

ANYTHING = {
    "--adata": ("g.h5ad", Path("g.h5ad")),
    "--labels": ("labels.csv", Path("labels.csv")),
    "--case-key": ("patient", "patient"),
    "--features": ("bags", Path("bags")),
    "--slide-table": ("slides.csv", Path("slides.csv")),
    "--label-key": ("subtype", "subtype"),
    "--layer": ("raw", "raw"),
    "--scale": ("tpm", "tpm"),
    "--slide-samples": ("all", "all"),
    "--slide-kind": ("dx", "dx"),
    "--splits": ("obs:fold", "obs:fold"),
    "--fold": ("r1f0", "r1f0"),
    "--missing": ("error", "error"),
    "--unlabelled": ("use", "use"),
}


@pytest.fixture
def gimp(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def calls(monkeypatch):
    """What the functions behind the commands were given."""
    seen = []

    def stand_in(*positional, output, **named):
        seen.append((positional, {**named, "output": output}))
        return SimpleNamespace(path=output, outcome="done", n_cases=11)

    for name in ("training.pretrain", "training.finetune", "prediction.predict"):
        monkeypatch.setattr(f"gimp_plugin.{name}", stand_in)
    monkeypatch.setattr("gimp_plugin.training.joined", lambda _runtime: nullcontext(Ranks()))
    return seen


def flags(values):
    return [text for name, (typed, _) in values.items() for text in (name, typed)]


def test_defaults_are_those_of_the_design(gimp, calls):
    assert gimp("pretrain", "--adata", "genes.h5ad").exit_code == 0
    assert gimp("finetune", "--adata", "genes.h5ad", "--from", "none").exit_code == 0
    assert gimp("predict", "--adata", "genes.h5ad").exit_code == 0

    (pretrain, by_pretrain), (_, by_finetune), (predict, by_predict) = calls
    assert pretrain == (CohortSource(adata=Path("genes.h5ad"), missing="drop"), load_preset())
    assert by_pretrain == {"output": Path("runs/pretrain"), "runtime": Runtime()}
    assert by_finetune["output"] == Path("runs/finetune")
    assert predict == (Path("runs/finetune"), CohortSource(adata=Path("genes.h5ad")))
    assert by_predict == {
        "output": Path("predictions.csv"),
        "runtime": Runtime(),
        "missing": "keep",
        "min_gene_coverage": 0.95,
        "modalities": None,
        "abstain_below": 0.0,
    }


def test_finetune_starts_from_the_pretraining_by_default(gimp):
    result = gimp("finetune", "--adata", "genes.h5ad")

    assert result.exit_code == 3
    assert "run 'runs/pretrain' does not exist" in result.stderr


def test_a_misspelled_start_is_told_from_a_run_that_does_not_exist(gimp):
    result = gimp("finetune", "--adata", "genes.h5ad", "--from", "gene")

    assert result.exit_code == 2
    assert "--from 'gene' is unknown, did you mean 'genes'?" in result.stderr


@pytest.mark.parametrize("name", ["pretrain", "benchmark", "config"])
def test_a_command_that_starts_from_no_run_takes_no_default_from_one(gimp, name):
    assert "run to start from" in gimp("finetune", "--help").stdout

    assert "run to start from" not in gimp(name, "--help").stdout


def test_every_input_reaches_the_source(gimp, calls):
    assert gimp("pretrain", *flags(ANYTHING)).exit_code == 0

    ((source, _), _), *_ = calls
    fields = {name.strip("-").replace("-", "_"): value for name, (_, value) in ANYTHING.items()}
    assert source == CohortSource(**fields)
    assert set(fields) == set(CohortSource.__dataclass_fields__)


def test_a_fold_is_text_in_a_settings_file_and_in_python_too(gimp, calls, tmp_path):
    (tmp_path / "s.toml").write_text("[options]\nsplits = 'obs:fold'\nfold = 2\n")

    assert gimp("pretrain", "--adata", "g", "--config", "s.toml").exit_code == 0

    ((source, _), _), *_ = calls
    assert source.fold == "2"
    assert CohortSource(adata=Path("g"), fold=2).fold == "2"
    assert CohortSource(adata=Path("g")).fold is None


def test_what_the_work_runs_on_reaches_the_runtime(gimp, calls):
    gimp(
        *("pretrain", "--adata", "g", "--device", "cuda:1", "--precision", "fp32"),
        *("--num-workers", "3", "--seed", "5", "--overwrite", "-o", "x"),
    )

    (_, named), *_ = calls
    assert named["runtime"] == Runtime(
        device="cuda:1", precision="fp32", num_workers=3, seed=5, overwrite=True
    )


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_training_options_change_the_stage_that_runs(gimp, calls, stage):
    start = ["--from", "none"] if stage == "finetune" else []

    gimp(stage, "--adata", "g", *start, "--epochs", "3", "--lr", "0.5", "--batch-size", "7")

    ((_, config), _), *_ = calls
    changes = {f"{stage}.epochs": 3, f"{stage}.lr": 0.5, f"{stage}.batch_size": 7}
    assert config == load_preset(changes=changes)


def test_model_options_change_the_model(gimp, calls):
    gimp(
        *("finetune", "--adata", "g", "--from", "genes", "--preset", "paper"),
        *("--modalities", "slides", "--gene-encoder", "a", "--aggregator", "b", "--head", "c"),
    )

    ((_, config), named), *_ = calls
    changes = {"modalities": "slides", "gene_encoder": "a", "aggregator": "b", "head": "c"}
    assert config == load_preset("paper", {f"model.{key}": value for key, value in changes.items()})
    assert named["start"] == "genes"


def test_finetune_keeps_the_configuration_of_the_run_it_starts_from(gimp, calls, monkeypatch):
    other = load_preset("paper", {"model.dim": 64, "finetune.lr": 0.25})
    monkeypatch.setattr(
        "gimp_plugin.storage.runs.read_run", lambda path: SimpleNamespace(path=path, config=other)
    )

    gimp("finetune", "--adata", "g", "--epochs", "3")
    gimp("finetune", "--adata", "g", "--preset", "recommended")

    ((_, kept), _), ((_, chosen), _) = calls
    assert kept == other.replace({"finetune.epochs": 3})
    assert chosen == load_preset()


@pytest.mark.parametrize(
    ("arguments", "tables"),
    [
        (["pretrain"], ["genes"]),
        (["finetune", "--from", "genes"], ["genes", "finetune"]),
        (["finetune", "--from", "none"], ["finetune"]),
    ],
)
def test_class_weights_are_those_of_the_stages_that_learn_classes(gimp, calls, arguments, tables):
    gimp(*arguments, "--adata", "g", "--class-weights", "balanced")

    ((_, config), _), *_ = calls
    assert config == load_preset(changes={f"{name}.class_weights": "balanced" for name in tables})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["finetune", "--class-weights", "balancd"], ("--class-weights", "'balanced'")),
        (["pretrain", "--class-weights", "0.5"], ("--class-weights", "'0.5'")),
        (["predict", "--abstain-below", "1"], ("--abstain-below", "0<=x<1")),
        (["predict", "--abstain-below", "-0.1"], ("--abstain-below", "0<=x<1")),
        (["predict", "--abstain-below", "half"], ("--abstain-below", "'half'")),
        (["predict", "--modalities", "both"], ("--modalities", "slides+genes")),
    ],
)
def test_a_bad_value_is_2_and_its_option_is_named(gimp, calls, tmp_path, arguments, words):
    result = gimp(*arguments, "--adata", "g")

    assert result.exit_code == 2
    assert [word for word in words if word not in result.stderr] == []
    assert calls == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("table", ["genes", "finetune"])
def test_bad_class_weights_of_a_settings_file_are_2_with_file_and_key(gimp, calls, tmp_path, table):
    (tmp_path / "s.toml").write_text(f"[{table}]\nclass_weights = 'balancd'\n")

    result = gimp("finetune", "--adata", "g", "--from", "none", "--config", "s.toml")

    assert result.exit_code == 2
    assert "'s.toml': class_weights = 'balancd' is unknown, did you mean 'balanced'?" in (
        result.stderr
    )
    assert calls == []


def test_predict_passes_what_it_was_asked_for(gimp, calls):
    gimp("predict", "--adata", "g", "--modalities", "slides", "--abstain-below", "0.8")

    (_, named), *_ = calls
    assert (named["modalities"], named["abstain_below"]) == ("slides", 0.8)


def test_predictions_are_told_in_one_line(gimp, calls):
    result = gimp("predict", "--adata", "g", "--model", "runs/other", "-o", "out/p.csv")

    assert result.stdout == "out/p.csv: 11 cases\n"


@pytest.fixture
def extracted(monkeypatch):
    """What `extract_for` was given; one of its slides fails."""
    seen = []

    def stand_in(*positional, **named):
        seen.append((positional, named))
        return SimpleNamespace(failures=("one",))

    monkeypatch.setattr("gimp_plugin.prediction.extract_for", stand_in)
    return seen


def test_new_slides_are_extracted_first_and_a_failure_is_4(gimp, calls, extracted):
    Path("masks").mkdir()
    result = gimp(
        *("predict", "--adata", "g", "--slides", "new", "--slides", "b.svs", "-o", "out/p.csv"),
        *("--weights", "w.pth", "--slide-mpp", "0.25", "--offline", "--device", "cpu"),
        *("--masks", "masks", "--slide-table", "slides.csv"),
    )

    ((positional, named),) = extracted
    assert positional == (Path("runs/finetune"), (Path("new"), Path("b.svs")))
    assert named == {
        "output": Path("out/p_features"),
        "runtime": Runtime(device="cpu"),
        "weights": Path("w.pth"),
        "masks": Path("masks"),
        "slide_mpp": 0.25,
        "slide_table": Path("slides.csv"),
        "offline": True,
    }
    ((_, source), _), *_ = calls
    assert source.features == Path("out/p_features")
    assert (result.exit_code, result.stdout) == (4, "out/p.csv: 11 cases\n")


def test_bags_of_new_slides_go_where_features_says(gimp, calls, extracted):
    gimp("predict", "--adata", "g", "--slides", "new", "--features", "here")

    (_, named), *_ = extracted
    assert named["output"] == Path("here")


def test_nothing_is_extracted_without_new_slides(gimp, calls, extracted):
    assert gimp("predict", "--adata", "g").exit_code == 0
    assert extracted == []


@pytest.mark.parametrize("name", ["pretrain", "finetune", "predict"])
def test_no_option_is_lost_on_the_way(name):
    taken = {*CohortSource.__dataclass_fields__, *Runtime.__dataclass_fields__}
    taken |= {*given.MODEL_OPTIONS, *given.STAGE_OPTIONS, *given.WEIGHT_OPTIONS, "preset"}
    own = {"output", "start", "run", "missing", "min_gene_coverage", "abstain_below"}
    own |= {"slides", "weights", "slide_mpp", "masks", "offline"}

    exposed = {param.name for param in load(name).params if param.expose_value}

    assert exposed <= taken | own


@pytest.mark.parametrize(("option", "known"), [("preset", PRESETS), ("scale", SCALES)])
def test_help_lists_the_names_that_the_code_knows(option, known):
    text = next(param.help for param in load("pretrain").params if param.name == option)

    assert all(name in text for name in known)


def test_masks_without_slides_are_wrong_usage(gimp, calls):
    Path("masks").mkdir()

    result = gimp("predict", "--adata", "g", "--masks", "masks")

    assert result.exit_code == 2
    assert "--masks needs --slides" in result.stderr
    assert calls == []


def test_a_file_where_a_folder_is_wanted_is_2(gimp, calls):
    Path("runs").write_text("x")

    inside = gimp("pretrain", "--adata", "g")
    itself = gimp("pretrain", "--adata", "g", "-o", "runs")

    assert (inside.exit_code, itself.exit_code) == (2, 2)
    assert "'runs' is a file, expected a folder." in itself.stderr
    assert "runs' is a file, expected a folder." in inside.stderr
    assert calls == []


def test_a_folder_where_a_file_is_wanted_is_2(gimp, calls):
    Path("predictions.csv").mkdir()

    result = gimp("predict", "--adata", "g")

    assert result.exit_code == 2
    assert "'predictions.csv' is a folder, expected a file." in result.stderr
    assert calls == []


def test_a_place_that_cannot_be_written_is_5(gimp, calls, monkeypatch):
    monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)  # root may write all

    result = gimp("pretrain", "--adata", "g", "-o", "new/run")

    assert result.exit_code == 5
    assert "cannot write in" in result.stderr
    assert calls == []


def test_all_of_keeps_the_order_of_its_options():
    @click.command
    @options.all_of(click.option("--one"), click.option("--two"))
    def command():
        """Do nothing."""

    assert [param.name for param in command.params] == ["one", "two"]
