"""Where tables say that they come from: one system or two, this run or another."""

from __future__ import annotations

import hashlib
import json

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.evaluation import evaluate
from gimp_plugin.evaluation.gather import gather
from gimp_plugin.prediction import predict
from gimp_plugin.storage.atomic import write_json
from gimp_plugin.training import finetune
from tests.prediction_factory import draw_patients, make_table, rows_of
from tests.study_factory import make_study, tiny_config

GIMP = {"config": {"model": {"aggregator": "nystrom", "dim": 16}}, "start": "run"}
OTHER = {"config": {"model": {"aggregator": "mean", "dim": 16}}, "start": "none"}
WHAT = '\'config.model.aggregator: "nystrom" -> "mean"\', \'start: "run" -> "none"\''


def table_of(path, system=None, *, prefix="", seed=0, **noted):
    make_table(path, rows_of(draw_patients(31, seed=seed), prefix=prefix))
    if system is not None:
        write_json(path.with_name(f"{path.name}.json"), {"system": system, **noted})
    return path


@pytest.mark.parametrize(
    ("prefix", "how"),
    [("", "are averaged as seeds of one system"), ("Q", "are taken as folds of one system")],
)
def test_tables_of_two_systems_are_a_warning_with_both_files_and_what_differs(
    tmp_path, monkeypatch, prefix, how
):
    monkeypatch.chdir(tmp_path)
    one = table_of(tmp_path / "a.csv", GIMP)
    two = table_of(tmp_path / "b.csv", OTHER, prefix=prefix, seed=1)
    again = table_of(tmp_path / "c.csv", OTHER, prefix=prefix and "R", seed=2)

    (warning,) = gather([one, two, again]).warnings

    assert warning.startswith(f"'a.csv' and 'b.csv' {how}, but come from two: {WHAT};")
    assert "--compare" in warning


@pytest.mark.parametrize("other", [None, GIMP, {**GIMP, "new": 1}, {"config": {}}, "damaged"])
def test_tables_of_one_system_or_that_do_not_tell_are_averaged_without_a_word(tmp_path, other):
    one = table_of(tmp_path / "a.csv", GIMP, model="0" * 64)

    assert gather([one, table_of(tmp_path / "b.csv", other, seed=1, model="1")]).warnings == ()


def test_a_system_that_is_compared_is_looked_at_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = table_of(tmp_path / "own.csv")
    others = [table_of(tmp_path / "a.csv", GIMP), table_of(tmp_path / "b.csv", OTHER, seed=1)]

    found = evaluate(own, others=[others])

    assert [text[:19] for text in found.warnings if "come from two" in text] == [
        "'a.csv' and 'b.csv'"
    ]
    assert evaluate(own, others=others[:1]).warnings == ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two seeds of one system and another system, and what they predict."""
    folder = tmp_path_factory.mktemp("systems")
    study = make_study(folder, n_patches=(3, 5))
    for name, seed, lr in (("a", 0, 3e-3), ("b", 1, 3e-3), ("c", 0, 1e-3)):
        config = tiny_config(model__modalities="genes", finetune__epochs=1, finetune__lr=lr)
        runtime = Runtime(seed=seed)
        finetune(study, config, start="none", output=folder / name, runtime=runtime)
        predict(folder / name, study, output=folder / f"{name}.csv", runtime=runtime)
    return folder


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_seeds_of_a_run_are_one_system_and_another_rate_is_another(folder, monkeypatch):
    monkeypatch.chdir(folder)
    part = ("--part", "train")  # the seeds drew different test cases, but all tables hold all
    tables = [json.loads((folder / f"{name}.csv.json").read_text()) for name in "abc"]

    assert tables[0]["system"] == tables[1]["system"] != tables[2]["system"]
    assert tables[0]["system"]["start"] == "none"
    result = CliRunner().invoke(cli, ["evaluate", "a.csv", "c.csv", *part])
    assert result.exit_code == 0, result.stderr
    assert "Warning: 'a.csv' and 'c.csv' are averaged as seeds of one system" in result.stderr
    assert "config.finetune.lr: 0.003 -> 0.001" in result.stderr


def test_a_table_of_before_there_were_systems_is_current(folder, tmp_path):
    note = json.loads((folder / "a.csv.json").read_text())
    del note["system"]
    (tmp_path / "a.csv").write_bytes((folder / "a.csv").read_bytes())
    write_json(tmp_path / "a.csv.json", note)

    source = make_study(tmp_path, n_patches=(3, 5))

    found = predict(folder / "a", source, output=tmp_path / "a.csv", runtime=Runtime())
    assert found.outcome == "nothing to do"


def test_a_table_of_another_run_is_refused_with_its_file_and_field(folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = contents(folder)

    own, other = (
        CliRunner().invoke(cli, ["evaluate", "a.csv", "--model", run, "-o", f"{run}.md"])
        for run in ("a", "c")
    )

    assert own.exit_code == 0
    assert other.exit_code == 3
    assert "'a.csv.json' says that a run other than 'c' predicted 'a.csv'" in other.stderr
    made_by = hashlib.sha256((folder / "a" / "model.safetensors").read_bytes()).hexdigest()
    assert f"'model' is {made_by[:12]}" in other.stderr
    (folder / "a.md").unlink()
    assert contents(folder) == before
