"""What a training gets that is asked for wrongly, disturbed, or given a bad run: code and message.

The numbers are those of the project's list of bad inputs, 78 to 92. Cohorts and bags have a file
of their own, and so have kills (test_training_kills.py) and dying ranks (test_training_ranks.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import anndata
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import gimp_plugin
from gimp_plugin.plugins import registry
from gimp_plugin.storage import resume, runs
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.storage.run_files import with_own_hash
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import loop
from gimp_plugin.training.pretraining import PretrainStage
from tests.plugin_factory import GOOD, install
from tests.study_factory import make_study, settings
from tests.test_cli_bad_cohorts import contents, gimp, refused

INPUTS = ("--adata", "genes.h5ad", "--config", "tiny.toml")
PRETRAIN = ("pretrain", *INPUTS)
FINETUNE = ("finetune", *INPUTS)
PREDICT = ("predict", "--adata", "genes.h5ad")
RUN = Path("runs/pretrain")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and what the commands made of it."""
    folder = tmp_path_factory.mktemp("trained")
    make_study(folder, n_cases=31)
    (folder / "tiny.toml").write_text(settings())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (PRETRAIN, FINETUNE, PREDICT):
            assert gimp(*command).exit_code == 0
    return folder


@pytest.fixture
def study(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder."""
    folder = tmp_path / "study"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


def results(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in runs.RESULTS}


@pytest.fixture
def interrupted(study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study with a pre-training that was interrupted in the fourth of its five epochs."""
    shutil.rmtree("runs")
    save, saved = loop._Fit._save, []

    def save_some(self: Any) -> None:
        saved.append(1)
        if len(saved) == 5:  # the gene stage saves once more at its end
            raise KeyboardInterrupt
        save(self)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Fit, "_save", save_some)
        assert gimp(*PRETRAIN).exit_code == 130
    assert len(list((RUN / runs.RESUME).iterdir())) == 2
    return study


@pytest.mark.parametrize("length", [23, 6000])
def test_78_bags_shorter_than_the_window(study: Path, length: int) -> None:
    """The longest bag has 22 patches: windows are those of a training that asks for no more."""
    more = "[pretrain]\nepochs = 1\nsubsequence_length = "
    tables = settings().partition("[pretrain]")[0]
    for name, asked in (("whole", 22), ("longer", length)):
        (study / "tiny.toml").write_text(f"{tables}{more}{asked}\n")
        result = gimp(*PRETRAIN, "-o", name)
        assert result.exit_code == 0, result.stderr

    assert results(study / "whole")[runs.MODEL] == results(study / "longer")[runs.MODEL]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pretrain]\nmask_ration = 0.4", "unknown key [pretrain] 'mask_ration', did you mean"),
        ("[pretrian]\nepochs = 4", "unknown table [pretrian], did you mean 'pretrain'?"),
        ("[pretrain]\nmask_ratio = 1.5", "mask_ratio = 1.5 is out of range, expected (0, 0.95]"),
        ("[pretrain]\nlr = -1", "lr = -1.0 is out of range, expected [0, 1]"),
        ("[genes]\nlr = nan", "lr = nan is out of range, expected [0, 1]"),
        ("[genes]\nepochs = 0", "epochs = 0 is out of range"),
        ("[genes]\nepochs = '7'", "[genes] epochs = '7' has the wrong type"),
        ("[model]\ndim = true", "[model] dim = True has the wrong type"),
        ("[options]\nepohcs = 3", "unknown option 'epohcs', did you mean 'epochs'?"),
    ],
)
def test_79_a_bad_settings_file(study: Path, text: str, words: str) -> None:
    (study / "bad.toml").write_text(text)

    said = refused(study, 2, "pretrain", "--adata", "genes.h5ad", "--config", "bad.toml", "-o", "x")

    assert "'bad.toml'" in said
    assert words in said


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--lr", -1, "lr = -1.0 is out of range"),
        ("--epochs", 0, "epochs = 0 is out of range"),
        ("--epochs", "ten", "'--epochs': 'ten' is not a valid integer"),
        ("--batch-size", 0, "batch_size = 0 is out of range"),
        ("--seed", -1, "seed = -1 is out of range"),
        ("--aggregator", "nystrm", "unknown aggregator 'nystrm', did you mean 'nystrom'?"),
        ("--preset", "papre", "'papre'"),
        ("--epohcs", 3, "No such option '--epohcs'"),
    ],
)
def test_79_a_bad_option(study: Path, option: str, value: object, words: str) -> None:
    assert words in refused(study, 2, *PRETRAIN, "-o", "x", option, value)


def test_80_a_loss_that_is_no_number(
    study: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree("runs")
    forward, calls = PretrainStage.forward, []

    def breaking(self: Any, **inputs: Any) -> dict[str, Any]:
        calls.append(1)
        terms = forward(self, **inputs)
        return {**terms, "loss": terms["loss"] * (float("nan") if len(calls) == 4 else 1.0)}

    with monkeypatch.context() as patch:
        patch.setattr(PretrainStage, "forward", breaking)
        result = gimp(*PRETRAIN)

    assert result.exit_code == 5
    assert "the loss of pretrain stopped being finite (nan) in epoch 2, in the batch" in (
        result.stderr
    )
    assert len(set(result.stderr.split("'")) & {f"P{case:02d}" for case in range(31)}) >= 5
    assert not (RUN / runs.MODEL).exists()
    assert gimp(*PRETRAIN).exit_code == 0
    assert results(RUN) == results(trained / RUN)


@pytest.fixture(params=["tmpfs", "simulated"])
def full_disk(
    request: pytest.FixtureRequest, study: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Let the disk of the folder `disk` be full; and, at the end, no more."""
    (study / "disk").mkdir()
    if request.param == "simulated":
        text = "Error while serializing: I/O error: No space left on device (os error 28)"
        full = mock.Mock(side_effect=SafetensorError(text))
        yield lambda: monkeypatch.setattr("safetensors.torch.save_file", full)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", "disk"]
    if subprocess.run(mount, cwd=study, capture_output=True, check=False).returncode:
        pytest.skip("must mount a small disk to fill it")

    def fill_up() -> None:
        with (study / "disk/filler").open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    yield fill_up
    subprocess.run(["umount", study / "disk"], check=True)


def test_82_a_full_disk_at_a_checkpoint(
    study: Path, trained: Path, full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = study / "disk/run/resume", []
    write = resume._write_tensors

    def filling(path: Path, tensors: Any) -> None:
        if path.parent.name == ".00000003.partial":
            seen.append({name: one for name, one in contents(folder).items() if name[0] != "."})
            full_disk()
        write(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(resume, "_write_tensors", filling)
        result = gimp(*PRETRAIN, "-o", "disk/run")

    assert result.exit_code == 5
    assert "cannot write 'disk/run/resume/.00000003.partial/state.safetensors'" in result.stderr
    assert "No space left on device" in result.stderr
    assert contents(folder) == seen[0]
    assert len(seen[0]) == 6  # two folders of two files
    (study / "disk/filler").unlink(missing_ok=True)
    monkeypatch.setattr("safetensors.torch.save_file", save_file)
    assert gimp(*PRETRAIN, "-o", "disk/run").exit_code == 0
    assert results(study / "disk/run") == results(trained / RUN)


def test_83_checkpoints_that_may_not_be_written(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access

    def denied(path: Any, mode: int) -> bool:  # root may write everywhere
        return access(path, mode) and not (Path(path).name == "resume" and mode & os.W_OK)

    monkeypatch.setattr(os, "access", denied)

    said = refused(interrupted, 5, *PRETRAIN)

    assert "cannot write in 'runs/pretrain/resume'" in said
    assert "epoch" not in said


def rehashed(run: Path, name: str) -> None:
    """Note the hash of a file as it is now, as a program would that wrote it so."""
    provenance = json.loads((run / runs.PROVENANCE).read_text())
    provenance["files"][name] = sha256_file(run / name)
    (run / runs.PROVENANCE).write_text(json.dumps(with_own_hash(provenance)))


def cut_weights(run: Path) -> None:
    path = run / runs.MODEL
    path.write_bytes(path.read_bytes()[:-7])


def cut_weights_unnoticed(run: Path) -> None:
    cut_weights(run)
    rehashed(run, runs.MODEL)


def other_weights(run: Path) -> None:
    tensors = load_file(run / runs.MODEL)
    name = next(name for name, one in tensors.items() if one.ndim == 2)
    save_file({**tensors, name: torch.zeros(3, 5)}, run / runs.MODEL)
    rehashed(run, runs.MODEL)


def changed_config(**changes: object) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        stored = json.loads((run / runs.CONFIG).read_text())
        (run / runs.CONFIG).write_text(json.dumps(stored | changes))
        rehashed(run, runs.CONFIG)

    return change


def newer_key(run: Path) -> None:
    stored = json.loads((run / runs.CONFIG).read_text())
    stored["config"]["model"]["depth"] = 3
    changed_config(config=stored["config"])(run)


def more_classes(run: Path) -> None:
    (run / runs.LABELS).write_text(json.dumps(["KIRC", "LUAD", "LUSC"]))
    rehashed(run, runs.LABELS)


def replaced(name: str, text: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text(text) and None


def written(name: str, text: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).write_text(text)
        rehashed(run, name)

    return change


def noted(**changes: object) -> Callable[[Path], None]:
    """Change what stands in the provenance, whose hash of itself stays."""

    def change(run: Path) -> None:
        provenance = json.loads((run / runs.PROVENANCE).read_text())
        (run / runs.PROVENANCE).write_text(json.dumps(provenance | changes))

    return change


BAD_RUNS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "cut": (cut_weights, runs.MODEL, "is damaged: its sha256 is not the recorded one"),
    "cut, unnoticed": (cut_weights_unnoticed, runs.MODEL, "do not fit the run's configuration"),
    "other weights": (other_weights, runs.MODEL, "size mismatch"),
    "newer": (changed_config(format_version=2), "", "has format version 2, expected 1"),
    "older": (changed_config(format_version=0), "", "has format version 0, expected 1"),
    "other format": (changed_config(format="x"), runs.CONFIG, "is not the configuration of a run"),
    "newer key": (newer_key, runs.CONFIG, "unknown key [model] 'depth'"),
    "more classes": (more_classes, runs.MODEL, "size mismatch"),
    "other labels": (replaced(runs.LABELS, "[]"), runs.LABELS, "is damaged: its sha256"),
    "config is a list": (replaced(runs.CONFIG, "[1]"), runs.CONFIG, "it is not a JSON object"),
    "config is noise": (replaced(runs.CONFIG, "\0{"), runs.CONFIG, "not valid JSON"),
    "provenance is a list": (replaced(runs.PROVENANCE, "[]"), runs.PROVENANCE, "not a JSON object"),
    "provenance is empty": (replaced(runs.PROVENANCE, "{}"), "", "is unfinished"),
    "provenance without hashes": (
        replaced(runs.PROVENANCE, '{"complete": true, "files": {}}'),
        runs.PROVENANCE,
        "lacks hashes",
    ),
    "provenance edited": (noted(components={}), runs.PROVENANCE, "does not match its 'sha256'"),
    "components is a list": (
        noted(components=["concat"]),
        runs.PROVENANCE,
        "'components' is ['concat'], expected an object",
    ),
    "a number as a name": (
        noted(components={"head": {"name": 7}}),
        runs.PROVENANCE,
        "'components.head.name' is 7, expected text",
    ),
    "a list as a folder": (
        noted(source={"features": ["a"]}),
        runs.PROVENANCE,
        "'source.features' is ['a'], expected text",
    ),
    "an unknown word": (
        noted(source={"missing": "perhaps"}),
        runs.PROVENANCE,
        "source: missing = 'perhaps' is unknown",
    ),
    "patches of no size": (
        noted(extraction={"patch_size": "big"}),
        runs.PROVENANCE,
        "extraction: patch_size = 'big' has the wrong type",
    ),
    "files is a list": (noted(files=[runs.MODEL]), runs.PROVENANCE, "'files' is ['model.safe"),
    "a dimension in words": (
        changed_config(feature_dim="11"),
        runs.CONFIG,
        "'feature_dim' is '11', expected a whole number",
    ),
    "a negative dimension": (changed_config(feature_dim=-5), runs.CONFIG, "'feature_dim' is -5"),
    "config is words": (changed_config(config=["model"]), runs.CONFIG, "'config' is ['model']"),
    "a class twice": (written(runs.LABELS, '["LUAD", "LUAD"]'), runs.LABELS, "a class twice"),
    "classes are numbers": (written(runs.LABELS, "[1, 2]"), runs.LABELS, "'classes[0]' is 1"),
    "stages is a list": (written(runs.METRICS, '{"stages": []}'), runs.METRICS, "'stages' is []"),
    "no gene": (
        written(runs.GENES, "id,order\n"),
        runs.GENES,
        "genes are missing or repeated, or values",
    ),
    "genes are noise": (written(runs.GENES, "id\n" + 200_000 * "x"), runs.GENES, "not a table"),
}


@pytest.mark.parametrize(("spoil", "name", "words"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_84_a_run_that_cannot_be_trusted(
    study: Path, spoil: Callable[[Path], None], name: str, words: str
) -> None:
    for run in (Path("runs/finetune"), RUN):
        spoil(run)

    by_predict = refused(study, 3, *PREDICT, "-o", "other.csv")
    by_finetune = refused(study, 3, *FINETUNE, "-o", "other")

    for said, run in ((by_predict, "runs/finetune"), (by_finetune, "runs/pretrain")):
        assert str(Path(run) / name) in said
        assert words in said


def test_84_a_run_of_other_classes(study: Path) -> None:
    cohort = anndata.read_h5ad("genes.h5ad")
    cohort.obs["label"] = [name.replace("LU", "KI") for name in cohort.obs["label"]]
    cohort.write_h5ad("other.h5ad")

    said = refused(study, 3, *FINETUNE, "--adata", "other.h5ad", "-o", "other")

    assert "run 'runs/pretrain' was trained on the classes 'LUAD', 'LUSC'" in said
    assert "the cohort 'other.h5ad' has 'KIAD', 'KISC'" in said


def test_84_another_model_than_that_of_the_run(study: Path) -> None:
    """Who asks for it has mistyped a setting: 2, as for every setting."""
    said = refused(study, 2, *FINETUNE, "--aggregator", "abmil", "-o", "other")

    assert "run 'runs/pretrain' has a different model: aggregator 'nystrom' -> 'abmil'" in said


def test_84_a_training_that_another_version_began(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = gimp_plugin.__version__
    monkeypatch.setattr(gimp_plugin, "__version__", "99.1")

    said = refused(interrupted, 3, *PRETRAIN)

    assert f'version: "{own}" -> "99.1"' in said


@pytest.mark.parametrize("n_damaged", [1, 2])
def test_84_a_damaged_checkpoint_is_told_and_passed_over(
    interrupted: Path, trained: Path, n_damaged: int
) -> None:
    for folder in sorted((RUN / runs.RESUME).iterdir())[-n_damaged:]:
        os.truncate(folder / resume.TENSORS, 1000)

    result = gimp(*PRETRAIN)

    assert result.exit_code == 0
    assert result.stderr.count("is damaged: skipping it") >= n_damaged
    assert results(RUN) == results(trained / RUN)


def test_85_going_on_with_other_data_or_settings(interrupted: Path) -> None:
    cohort = anndata.read_h5ad("genes.h5ad")
    cohort.X = np.asarray(cohort.X) + np.float32(0.5)
    cohort.write_h5ad("other.h5ad")

    by_data = refused(interrupted, 3, *PRETRAIN, "--adata", "other.h5ad")
    by_setting = refused(interrupted, 3, *PRETRAIN, "--epochs", 5)
    by_seed = refused(interrupted, 3, *PRETRAIN, "--seed", 1)

    noted = json.loads((RUN / runs.CONFIG).read_text())["inputs"]
    assert "'runs/pretrain' holds a run made from other inputs" in by_data
    assert f'inputs.expression: "{noted["expression"][:12]}' in by_data
    assert "config.pretrain.epochs: 2 -> 5" in by_setting
    assert "seed: 0 -> 1" in by_seed


@pytest.mark.parametrize("name", ["noise", "model.pth", "features", "runs"])
def test_86_what_is_no_run(study: Path, name: str) -> None:
    (study / "noise").write_bytes(np.random.default_rng(0).bytes(3001))
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 3)}}, study / "model.pth")

    said = [
        refused(study, 3, *FINETUNE, "--from", name, "-o", "other"),
        refused(study, 3, *PREDICT, "--model", name, "-o", "other.csv"),
    ]

    is_file = (study / name).is_file()
    words = (
        "is a file, expected a run folder" if is_file else "is not a run: it has no 'config.json'"
    )
    assert all(f"'{name}' {words}" in each for each in said)


def test_86_a_run_that_is_not_there(study: Path) -> None:
    said = refused(study, 3, *PREDICT, "--model", "runs/finetun", "-o", "other.csv")

    assert "run 'runs/finetun' does not exist" in said


@pytest.mark.slow
def test_87_a_bare_environment_changes_no_byte(study: Path, trained: Path) -> None:
    """No HOME that can be written, ASCII only, far from UTC, and nobody who reads stdout."""
    shutil.rmtree("runs")
    kept = {"PATH", "OMP_NUM_THREADS", "PYTHONPATH", "TMPDIR", "COVERAGE_PROCESS_CONFIG"}
    own = {name: value for name, value in os.environ.items() if name in kept}
    odd = {"HOME": "/proc/nowhere", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}
    odd |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    reading, writing = os.pipe()
    os.close(reading)

    process = subprocess.run(
        [sys.executable, "-m", "gimp_plugin", *PRETRAIN],
        env=own | odd,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert process.returncode == 0
    assert b"Error" not in process.stderr
    assert b"Traceback" not in process.stderr
    assert results(RUN) == results(trained / RUN)


HOSTILE = [
    "../../x", "a/b", "<script>alert(1)</script>", '=HYPERLINK("http://x","y")', "con", "-1+1",
    "@SUM(A1)", "+A1", "'=x", "a,b", 'a"b', "a\nb", "~", ".", "..", "$(touch x)", "%s%n", "{0}",
    "文字", " a ",
]  # fmt: skip


def test_89_hostile_ids_are_names_and_nothing_else(study: Path) -> None:
    cohort = anndata.read_h5ad("genes.h5ad")
    old = list(map(str, cohort.obs_names))
    ids = [*HOSTILE, *old[len(HOSTILE) :]]
    cohort.obs_names = ids
    cohort.obs["slide_id"] = old
    cohort.obs["label"] = ["=A<b>|" if name == "LUAD" else "../B" for name in cohort.obs["label"]]
    cohort.write_h5ad("genes.h5ad")
    shutil.rmtree("runs")
    Path("predictions.csv").unlink()
    expected = set(contents(study.parent))

    commands = [PRETRAIN, FINETUNE, PREDICT]
    commands += [("evaluate",), ("evaluate", "-o", "evaluation.md")]
    told = [gimp(*command) for command in commands]

    assert [result.exit_code for result in told] == [0] * 5, [result.stderr for result in told]
    new = set(contents(study.parent)) - expected
    ours = ("study/runs", "study/predictions.csv", "study/.predictions.csv", "study/evaluation.md")
    assert [name for name in new if not name.startswith((*ours, "study/.evaluation.md"))] == []
    rows = read_csv(Path("predictions.csv"))
    assert sorted(row["case_id"] for row in rows) == sorted(ids)
    assert sorted(row["case_id"] for row in read_csv(RUN / runs.SPLITS)) == sorted(ids)
    trained_on = json.loads(Path("runs/finetune", runs.CASES).read_text())
    assert {case_id for part in trained_on.values() for case_id in part} < set(ids)
    for table in (Path("predictions.csv"), RUN / runs.SPLITS):
        lines = table.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.lstrip('"')[:1] in set("=+-@")] == []
    for page in (RUN / runs.CARD, Path("runs/finetune", runs.CARD), Path("evaluation.md")):
        assert "<" not in page.read_text(encoding="utf-8").replace("\\<", "")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install plugins for the commands of a test."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    modules = []

    def make(distribution: str, source: str, entry: str) -> None:
        modules.append(install(site, distribution, source, entry=entry))
        registry.cache_clear()

    yield make
    registry.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


def test_90_plugins_that_fail_or_clash(study: Path, plugins: Callable[..., None]) -> None:
    plugins("broken", "raise RuntimeError('no licence')", "broken")
    plugins("first-plugin", GOOD, "same")
    plugins("second-plugin", GOOD, "same")
    plugins("good-plugin", GOOD.replace('"mean"', '"average"'), "good")

    said = refused(study, 2, *PRETRAIN, "-o", "other", "--aggregator", "mean")
    listed = gimp("plugins")
    trained = gimp(*PRETRAIN, "-o", "other")

    assert "unknown aggregator 'mean'" in said
    assert "plugin 'broken' of broken 2.1: RuntimeError: no licence" in said
    assert "first-plugin 2.1" in said
    assert "second-plugin 2.1" in said
    assert listed.exit_code == 0
    assert "no licence" in listed.stdout
    assert "average" in listed.stdout
    assert trained.exit_code == 0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (PRETRAIN, "runs/pretrain: nothing to do"),
        (FINETUNE, "runs/finetune: nothing to do"),
        (PREDICT, "predictions.csv is complete and current: nothing to do"),
    ],
)
def test_92_the_same_command_again(study: Path, command: tuple[str, ...], told: str) -> None:
    def files() -> dict[Path, tuple[bytes, int]]:
        found = (path for path in study.rglob("*") if path.is_file())
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}

    before = files()

    result = gimp(*command)

    assert result.exit_code == 0
    assert told in result.output
    assert files() == before
