"""Three classes at 70:20:10 go through all commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score, roc_auc_score

from gimp_plugin.cli.main import cli
from gimp_plugin.cli.toml import to_toml
from gimp_plugin.storage.runs import read_run
from gimp_plugin.storage.tables import read_csv
from tests.study_factory import TINY, make_study

LABELS = ["adeno"] * 42 + ["small"] * 6 + ["squamous"] * 12
CLASSES = ["adeno", "small", "squamous"]
WEIGHTED = ("--class-weights", "balanced", "--config", "small.toml")


def gimp(*arguments):
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each command said, in the folder that they worked in."""
    folder = tmp_path_factory.mktemp("study")
    make_study(folder, labels=LABELS)
    tables = {}
    for name, value in TINY.items():
        table, _, key = name.partition(".")
        tables.setdefault(table, {})[key] = value
    (folder / "small.toml").write_text(to_toml(tables))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said = {
            "check": gimp("check", "--adata", "genes.h5ad", "--features", "features"),
            "split": gimp("split", "--adata", "genes.h5ad"),
            "pretrain": gimp(
                "pretrain", "--adata", "genes.h5ad", "--splits", "splits.csv", *WEIGHTED
            ),
            "finetune": gimp("finetune", "--adata", "genes.h5ad", *WEIGHTED),
            "predict": gimp("predict", "--adata", "genes.h5ad"),
            "evaluate": gimp("evaluate", "--model", "runs/finetune"),
            "json": gimp("evaluate", "--json"),
        }
    return folder, said


def test_all_commands_end_well_and_the_check_finds_the_small_class(results):
    _, said = results

    codes = {name: result.exit_code for name, result in said.items()}
    assert codes == dict.fromkeys(said, 0) | {"check": 4}
    assert "classes small, squamous have fewer than 20 cases: adeno 42, small 6, squamous 12" in (
        said["check"].stdout
    )


def test_parts_keep_the_shares_and_are_warned_of_where_a_class_is_small(results):
    folder, said = results

    label = {f"P{case:02d}": name for case, name in enumerate(LABELS)}
    cells = [(row["split"], label[row["case_id"]]) for row in read_csv(folder / "splits.csv")]
    found = [cells.count(("train", name)) for name in CLASSES]
    assert found == pytest.approx([0.6 * LABELS.count(name) for name in CLASSES], abs=1.5)
    for name in ("split", "pretrain", "finetune"):
        warning = "fewer than 5 cases of a class in train ('small' 4), val ('small' 1, "
        assert warning in said[name].stderr
    for name in ("evaluate", "json"):
        assert "class 'small' has 1 test case: too few to say much" in said[name].stderr


def test_the_runs_say_how_their_classes_were_weighted(results):
    folder, _ = results

    pretrained, tuned = (read_run(folder / "runs" / name) for name in ("pretrain", "finetune"))
    assert pretrained.config.genes.class_weights == "balanced"
    assert tuned.config.finetune.class_weights == "balanced"
    assert tuned.config.genes.class_weights == "balanced"  # of the run that it starts from
    assert tuned.metrics["stages"]["finetune"]["calibration"]["n_cases"] == 12
    assert "only 12 validation cases, fewer than 20" in results[1]["finetune"].stderr
    assert "Temperature of the probabilities: 1 " in (tuned.path / "README.md").read_text()


def test_the_figures_are_macro_averages_as_scikit_learn_has_them(results):
    folder, said = results

    rows = [row for row in read_csv(folder / "predictions.csv") if row["split"] == "test"]
    labels = [CLASSES.index(row["label"]) for row in rows]
    probabilities = [[float(row[f"prob_{name}"]) for name in CLASSES] for row in rows]
    predicted = [CLASSES.index(row["predicted"]) for row in rows]
    metrics = json.loads(said["json"].stdout)["metrics"]
    assert metrics["auc"]["value"] == pytest.approx(
        roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )
    assert metrics["macro_f1"]["value"] == pytest.approx(
        f1_score(labels, predicted, average="macro", labels=[0, 1, 2], zero_division=0)
    )
    assert "| AUC (one class against the others, mean) |" in said["evaluate"].stdout
    assert Path(folder / "failures.csv").exists() is False
