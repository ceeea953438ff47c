"""`gimp export`: a bundle predicts as its run does, and says nothing of a patient."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from dataclasses import replace

import anndata
import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.numpy import load_file

from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.evaluation import evaluate
from gimp_plugin.prediction.new_slides import extraction_config
from gimp_plugin.storage import bundles, runs
from gimp_plugin.storage.atomic import write_json
from gimp_plugin.storage.predictions import write_predictions
from gimp_plugin.storage.runs import read_run
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.bundle.card import bundle_card
from gimp_plugin.training import finetune, pretrain
from tests.study_factory import make_study, tiny_config
from tests.test_slides_extraction import contents

SECRET = "hospital-archive"
FILES = {
    "README.md", "config.json", "genes.csv", "labels.json", "metrics.json", "model.safetensors",
    "provenance.json",
}  # fmt: skip
MADE = {
    "patch_encoder": "untrained", "mpp": 0.75, "patch_size": 128, "tissue": "otsu", "grid": "cover",
    "weights": f"/{SECRET}/weights.pth", "masks": f"/{SECRET}/masks",
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    source = make_study(tmp_path_factory.mktemp(SECRET), n_cases=60)
    for bag in source.features.iterdir():
        with h5py.File(bag, "r+") as file:
            file.attrs["extraction_config"] = json.dumps(MADE)
    return source


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    """A fine-tuned run, with `predictions.csv` beside it."""
    folder = tmp_path_factory.mktemp(f"{SECRET}-runs")
    config = tiny_config(finetune__epochs=2)
    finetune(study, config, start="none", output=folder / "run", runtime=Runtime())
    predicted(folder / "run", study, folder / "predictions.csv")
    return folder / "run"


@pytest.fixture
def bundle(run, tmp_path):
    assert gimp("export", run, "-o", tmp_path / "bundle").exit_code == 0
    return tmp_path / "bundle"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def gimp(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def predicted(model, study, path):
    result = gimp(
        "predict",
        "--model",
        model,
        "--adata",
        study.adata,
        "--features",
        study.features,
        "-o",
        path,
    )
    assert result.exit_code == 0, result.stderr
    return read_csv(path)


def front_matter(bundle):
    return yaml.safe_load((bundle / "README.md").read_text().split("---\n")[1])


def test_a_bundle_that_was_moved_predicts_what_its_run_predicts(run, bundle, study, tmp_path):
    moved = bundle.rename(tmp_path / "elsewhere")

    ours = predicted(moved, study, tmp_path / "ours.csv")

    theirs = read_csv(run.with_name("predictions.csv"))
    assert {row["split"] for row in theirs} == {"train", "val", "test"}
    assert [row | {"split": "new"} for row in theirs] == ours
    assert len({row["prob_LUSC"] for row in ours}) == 60


def test_predicting_with_a_bundle_warns_that_training_cases_count_as_new(bundle, study):
    result = gimp("predict", "--model", bundle, "--adata", study.adata, "--modalities", "genes")

    assert "is a model bundle: cases that it was trained on also count as new" in result.stderr


def test_a_bundle_names_no_case_slide_or_path(run, bundle, study):
    case_ids = anndata.read_h5ad(study.adata).obs_names
    texts = [path.read_text() for path in bundle.iterdir() if path.suffix != ".safetensors"]
    with safe_open(bundle / "model.safetensors", "np") as weights:
        texts.append(json.dumps([weights.metadata(), *weights.keys()]))

    assert {path.name for path in bundle.iterdir()} == FILES
    assert any(name in (run / "splits.csv").read_text() for name in case_ids)  # names can be found
    assert not [name for name in case_ids for text in texts if name in text]
    assert SECRET in (run / "provenance.json").read_text()
    assert not [text for text in texts if SECRET in text]
    hashes = json.loads((run / "config.json").read_text())["inputs"].values()
    assert not [one for one in hashes for text in texts if one in text]


def test_what_a_trainer_adds_to_the_files_of_a_run_stays_there(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    for name in (runs.METRICS, runs.CONFIG, runs.PROVENANCE):
        content = json.loads((tmp_path / "run" / name).read_text())
        tables = [content, *content.get("stages", {}).values()]
        for table in tables:
            table["by_case"] = {SECRET: 0.7}
        write_json(tmp_path / "run" / name, content)
    runs.seal_run(tmp_path / "run", json.loads((tmp_path / "run" / runs.PROVENANCE).read_text()))

    result = gimp("export", "run", "-o", "b")

    assert result.exit_code == 0, result.stderr
    assert [
        path for path in (tmp_path / "b").iterdir() if SECRET.encode() in path.read_bytes()
    ] == []


def test_new_slides_are_read_as_those_of_the_run(run, bundle):
    config = extraction_config(read_run(bundle))

    assert config == extraction_config(read_run(run))
    assert (config.mpp, config.patch_size, config.grid) == (0.75, 128, "cover")


def test_weights_are_those_of_the_run_and_name_their_framework(run, bundle):
    ours, theirs = (load_file(path / "model.safetensors") for path in (bundle, run))

    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    with safe_open(bundle / "model.safetensors", "np") as weights:
        assert weights.metadata() == {"format": "pt"}


def test_the_hub_reads_the_metrics_and_their_intervals_from_the_card(run, tmp_path):
    table = run.with_name("predictions.csv")
    expected = evaluate(table, model=run).metrics

    result = gimp(
        "export", run, "-o", "b", "--predictions", table, "--licence", "MIT",
        "--data", "60 drawn patients: <b>'\"{}'\n---\nlicense: none"
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    card = ModelCard.load(tmp_path / "b" / "README.md")
    assert (card.data.license, card.data.library_name) == ("mit", "gimp-plugin")
    found = {one.metric_type: one for one in card.data.eval_results}
    assert {name: one.metric_value for name, one in found.items()} == {
        name: round(one.value, 4) for name, one in expected.items()
    }
    accuracy = expected["accuracy"]
    ends = f"({accuracy.low:.3f}-{accuracy.high:.3f}), 95 % interval"
    assert found["accuracy"].metric_name.endswith(ends)
    assert f"{accuracy.low:.3f}-{accuracy.high:.3f} |" in card.text
    assert "12 held-out test cases of the training cohort" in card.text
    assert "60 drawn patients: \\<b>'\"{}' --- license: none" in card.text
    stored = json.loads((tmp_path / "b" / "metrics.json").read_text())["evaluation"]
    assert stored["metrics"]["accuracy"]["low"] == accuracy.low
    assert "predictions" not in stored


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), {}),
        (("--licence", "CC-BY-4.0"), {"license": "cc-by-4.0"}),
        (
            ("--licence", "ours: ask"),
            {"license": "other", "license_name": "ours: ask"},
        ),
    ],
)
def test_a_licence_is_stated_where_it_is_given_and_nowhere_else(run, tmp_path, given, expected):
    gimp("export", run, "-o", "b", *given)

    found = front_matter(tmp_path / "b")
    assert {key: value for key, value in found.items() if "license" in key} == expected
    text = (tmp_path / "b" / "README.md").read_text()
    assert ("did not state a licence" in text) is not bool(given)
    assert "No metrics of held-out cases were given" in text


def test_the_same_export_does_nothing_and_another_is_refused_without_overwrite(run, tmp_path):
    first = gimp("export", run, "-o", "b")
    (tmp_path / "b" / "notes.txt").write_text("mine")
    before = contents(tmp_path)

    again, other = gimp("export", run, "-o", "b"), gimp("export", run, "-o", "b", "--data", "x")

    assert (first.stdout, again.stdout) == ("b: done\n", "b: nothing to do\n")
    assert other.exit_code == 3
    assert "'b' holds another model bundle; these files differ: 'README.md'" in other.stderr
    assert contents(tmp_path) == before
    assert gimp("export", run, "-o", "b", "--data", "x", "--overwrite").stdout == "b: done\n"
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine"
    assert "\nx\n" in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_a_folder_of_something_else_is_never_written_to(run, tmp_path, flags):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("mine")
    before = contents(tmp_path)

    results = [gimp("export", run, "-o", name, *flags) for name in ("run", "other")]

    assert [result.exit_code for result in results] == [3, 3]
    assert "'run' holds files that are not a model bundle's: " in results[0].stderr
    assert "'other' holds files that are not a model bundle's: 'README.md'" in results[1].stderr
    locks = {".run.lock", ".other.lock"}  # empty files beside, as every command leaves them
    assert {name: text for name, text in contents(tmp_path).items() if name not in locks} == before


def test_an_export_that_was_interrupted_is_refused_and_goes_on(run, tmp_path, monkeypatch):
    def stops(path, real=bundles.whole_file):
        if path.name == runs.METRICS:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(bundles, "whole_file", stops)
    assert gimp("export", run, "-o", "b").exit_code == 130
    half = gimp("info", "b")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    whole = gimp("export", run, "-o", "b")

    assert half.exit_code == 3
    assert (whole.exit_code, gimp("verify", "b").exit_code) == (0, 0)
    assert {path.name for path in (tmp_path / "b").iterdir()} == FILES


@pytest.mark.parametrize("place", ["/proc/b", 250 * "b", 300 * "b"])
def test_a_place_that_cannot_be_written_is_no_bug_of_ours(run, tmp_path, place):
    before = contents(tmp_path)

    result = gimp("export", run, "-o", place)

    assert result.exit_code == 5
    assert place in result.stderr
    assert "bug" not in result.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "metrics.json"])
def test_a_pipe_in_the_place_of_a_file_is_not_read_for_ever(bundle, study, tmp_path, name):
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    before = {path.name for path in bundle.iterdir()}

    result = gimp("predict", "--model", bundle, "--adata", study.adata)
    export = gimp("export", bundle, "-o", bundle, "--overwrite")

    assert (result.exit_code, export.exit_code) == (3, 3)
    assert name in result.stderr
    assert {path.name for path in bundle.iterdir()} == before


def test_what_acts_on_a_terminal_does_not_get_onto_the_card(run, tmp_path):
    said = "red \x1b[31m, \u202eback, \udcff\x07"

    result = gimp("export", run, "-o", "b", "--data", said, "--licence", said)

    assert result.exit_code == 0
    text = (tmp_path / "b" / "README.md").read_text()
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "red [31m, back," in text


def test_a_link_to_where_nothing_is_yet_is_followed(run, tmp_path):
    (tmp_path / "link").symlink_to("new/place")

    result = gimp("export", run, "-o", "link")

    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "new" / "place").iterdir()} == FILES
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("arguments", [("-o", ""), ("--predictions", "")])
def test_an_empty_path_is_not_the_folder_at_hand(run, tmp_path, arguments):
    before = contents(tmp_path)

    result = gimp("export", run, *arguments)

    assert result.exit_code == 2
    assert f"{arguments[0]}" in result.stderr
    assert "The path is empty" in result.stderr
    assert contents(tmp_path) == before


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_on_a_full_disk_the_old_bundle_stays(run, bundle):
    before = contents(bundle)
    room = (bundle / runs.MODEL).stat().st_size - 1

    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        result = gimp("export", run, "-o", bundle, "--data", "x", "--overwrite")
        os._exit(result.exit_code if "cannot write" in result.stderr else 99)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert contents(bundle) == before


@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
def test_a_file_that_is_missing_or_was_changed_is_named(bundle, name):
    path = bundle / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"', b"'", 1) if name == runs.LABELS else content + b"\n ,")

    changed = gimp("predict", "--model", bundle, "--adata", "none.h5ad")
    path.unlink()
    missing = gimp("predict", "--model", bundle, "--adata", "none.h5ad")

    assert (changed.exit_code, missing.exit_code) == (3, 3)
    assert f"bundle/{name}' is damaged" in changed.stderr
    assert "lacks" in missing.stderr or "it has no" in missing.stderr
    assert f"'{name}'" in missing.stderr


def test_the_card_may_be_edited_and_is_not_replaced_unasked(run, bundle):
    with (bundle / "README.md").open("a") as card:
        card.write("Ask us before use.\n")

    again = gimp("export", run, "-o", bundle)

    assert gimp("verify", bundle).exit_code == 0
    assert again.exit_code == 3
    assert (bundle / "README.md").read_text().endswith("Ask us before use.\n")


def test_predictions_of_another_run_are_refused(run, study, tmp_path):
    config = tiny_config(finetune__epochs=1)
    runtime = Runtime()
    finetune(study, config, start="none", output=tmp_path / "other", runtime=runtime)
    predicted(tmp_path / "other", study, tmp_path / "other.csv")
    shutil.copy(run.with_name("predictions.csv"), tmp_path / "bare.csv")
    before = contents(tmp_path)

    results = [
        gimp("export", run, "-o", "b", "--predictions", name) for name in ("other.csv", "bare.csv")
    ]

    assert [result.exit_code for result in results] == [3, 3]
    assert "'other.csv.json' says that a run other than" in results[0].stderr
    assert "'bare.csv.json' does not say that 'bare.csv' was predicted by" in results[1].stderr
    assert contents(tmp_path) == before


def better(row):
    """A row that is right."""
    sure = {f"prob_{name}": float(name == row["label"]) for name in ("LUAD", "LUSC")}
    return row | sure | {"predicted": row["label"]}


@pytest.fixture
def table(run, tmp_path):
    for name in ("predictions.csv", "predictions.csv.json"):
        shutil.copy(run.with_name(name), tmp_path / name)
    return tmp_path / "predictions.csv"


def test_a_table_that_was_edited_does_not_get_onto_the_card(run, table, tmp_path):
    write_predictions(table, map(better, read_csv(table)), classes=("LUAD", "LUSC"))
    before = contents(tmp_path)

    result = gimp("export", run, "-o", "b", "--predictions", "predictions.csv")

    assert result.exit_code == 3
    said = "'predictions.csv' is not the table that 'predictions.csv.json' was written for"
    assert said in result.stderr
    assert contents(tmp_path) == before


def test_a_table_of_before_there_were_hashes_is_refused_and_says_what_to_do(run, table, tmp_path):
    note = json.loads(table.with_name("predictions.csv.json").read_text())
    del note["table_sha256"]
    write_json(table.with_name("predictions.csv.json"), note)
    before = contents(tmp_path)

    result = gimp("export", run, "-o", "b", "--predictions", "predictions.csv")

    assert result.exit_code == 3
    assert "'predictions.csv.json' has no 'table_sha256'" in result.stderr
    assert "predict again, with --overwrite" in result.stderr
    assert contents(tmp_path) == before


def test_evaluate_warns_of_a_table_that_was_edited(run, table):
    before = gimp("evaluate", "predictions.csv", "--model", run)
    write_predictions(table, map(better, read_csv(table)), classes=("LUAD", "LUSC"))

    after = gimp("evaluate", "predictions.csv", "--model", run)

    warning = "'predictions.csv' was changed after it was predicted"
    assert (before.exit_code, after.exit_code) == (0, 0)
    assert warning not in before.stderr
    assert warning in after.stderr


def test_only_a_fine_tuned_run_is_exported(bundle, study, tmp_path):
    pretrain(study, tiny_config(), output=tmp_path / "pre", runtime=Runtime())

    results = [gimp("export", name, "-o", "b") for name in ("pre", bundle, "nowhere")]

    assert [result.exit_code for result in results] == [3, 3, 3]
    assert "'pre' is a pretrain run: it has no trained classifier" in results[0].stderr
    assert "is already a model bundle" in results[1].stderr
    assert "'nowhere' does not exist" in results[2].stderr
    assert not (tmp_path / "b").exists()


def test_what_needs_to_know_the_training_cases_refuses_a_bundle(run, bundle, study, tmp_path):
    before = contents(tmp_path)

    tuned = gimp("finetune", "--adata", study.adata, "--from", bundle, "-o", "tuned")
    judged = gimp("evaluate", run.with_name("predictions.csv"), "--model", bundle)

    assert (tuned.exit_code, judged.exit_code) == (3, 3)
    for result in (tuned, judged):
        assert "does not know which cases it was trained on" in result.stderr
    assert contents(tmp_path) == before


def test_info_and_verify_know_a_bundle(run, bundle):
    found = json.loads(gimp("info", bundle, "--json").stdout)

    assert gimp("info", bundle).stdout.startswith(f"{bundle}: model bundle\n")
    assert found["cases"] == "test 12, train 36, val 12"
    assert "trained on (ancestors included)" not in found
    assert gimp("verify", bundle).stdout == "1 good (0 patches), 0 bad\n"
    assert json.loads(gimp("info", run, "--json").stdout)["cases"] == found["cases"]


def test_the_card_names_the_versions_of_plugins_that_a_prediction_needs(run):
    record = read_run(run)
    theirs = {"distribution": "their-plugin", "version": "2.1"}
    used = {
        **record.components,
        "head": {"name": "theirs", **theirs},
        "trainer": {"name": "own", "distribution": "other-plugin", "version": "1"},
    }

    text = bundle_card(replace(record, components=used), None, licence="", data="")

    assert "head `theirs` of their-plugin 2.1" in text
    assert "To predict, install their-plugin 2.1, too." in text
