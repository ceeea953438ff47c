"""What TensorBoard is told of a training: the values of the log, each epoch once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gimp_plugin.assembly import device
from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.storage import runs
from gimp_plugin.training import loop, pretrain
from tests.study_factory import make_study, settings, tiny_config

WATCHED = Runtime(tensorboard=True)


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path)


def told(run):
    """Step and value of each scalar, by tag, as TensorBoard reads them."""
    events = EventAccumulator(str(run / runs.TENSORBOARD)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def logged(run):
    """The same, from the log."""
    values = {}
    for line in (run / runs.LOG).read_text().splitlines():
        record = json.loads(line)
        stage, epoch, _ = record.pop("stage"), record.pop("epoch"), record.pop("seconds")
        for name, value in record.items():
            values.setdefault(f"{stage}/{name}", []).append((epoch, float(np.float32(value))))
    return values


def results(run):
    return {name: (run / name).read_bytes() for name in runs.RESULTS}


def test_tensorboard_reads_what_the_log_says_and_no_byte_of_the_run_differs(study, tmp_path):
    pretrain(study, tiny_config(), output=tmp_path / "plain", runtime=Runtime())
    pretrain(study, tiny_config(), output=tmp_path / "run", runtime=WATCHED)

    values = told(tmp_path / "run")
    assert values == logged(tmp_path / "run")
    assert [step for step, _ in values["genes/loss"]] == [1, 2, 3]
    assert [step for step, _ in values["pretrain/reconstruction"]] == [1, 2]
    assert results(tmp_path / "run") == results(tmp_path / "plain")
    assert not (tmp_path / "plain" / runs.TENSORBOARD).exists()


@pytest.mark.parametrize("interrupted_at", [2, 4, 5])
def test_a_run_that_goes_on_tells_each_epoch_once(study, tmp_path, monkeypatch, interrupted_at):
    pretrain(study, tiny_config(), output=tmp_path / "whole", runtime=WATCHED)
    save, saved = loop._Fit._save, []

    def interrupted(self):
        saved.append(1)
        if len(saved) == interrupted_at:  # the epoch is logged, and is not in the checkpoint
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(loop._Fit, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(study, tiny_config(), output=tmp_path / "run", runtime=WATCHED)
    pretrain(study, tiny_config(), output=tmp_path / "run", runtime=WATCHED)

    assert told(tmp_path / "run") == told(tmp_path / "whole")
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_overwriting_removes_the_events_and_nothing_that_is_not_ours(study, tmp_path):
    run = tmp_path / "run"
    pretrain(study, tiny_config(), output=run, runtime=WATCHED)
    pretrain(study, tiny_config(), output=run, runtime=Runtime(seed=1, overwrite=True))
    assert not (run / runs.TENSORBOARD).exists()

    pretrain(study, tiny_config(), output=run, runtime=Runtime(overwrite=True, tensorboard=True))
    (run / runs.TENSORBOARD / "notes.txt").write_text("mine")
    pretrain(study, tiny_config(), output=run, runtime=Runtime(seed=1, overwrite=True))

    assert [path.name for path in (run / runs.TENSORBOARD).iterdir()] == ["notes.txt"]


def gimp(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_the_commands_watch_their_stages_and_other_commands_read_the_runs(
    study, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(settings())
    given = ("--adata", "genes.h5ad", "--config", "tiny.toml", "--tensorboard")

    codes = [gimp("pretrain", *given).exit_code, gimp("finetune", *given).exit_code]
    codes += [gimp(command, "runs/finetune").exit_code for command in ("verify", "info")]
    codes.append(gimp("predict", "--adata", "genes.h5ad").exit_code)

    assert codes == [0, 0, 0, 0, 0]
    found = told(tmp_path / "runs" / "finetune")
    assert found == logged(tmp_path / "runs" / "finetune")
    assert {tag.partition("/")[0] for tag in found} == {"finetune"}


def test_a_finished_run_is_not_told_again(study, tmp_path):
    pretrain(study, tiny_config(), output=tmp_path / "run", runtime=Runtime())

    result = pretrain(study, tiny_config(), output=tmp_path / "run", runtime=WATCHED)

    assert result.outcome == "nothing to do"
    assert not (tmp_path / "run" / runs.TENSORBOARD).exists()


@pytest.mark.parametrize("command", [["pretrain"], ["finetune", "--from", "none"]])
def test_without_the_package_nothing_is_begun(study, tmp_path, monkeypatch, command):
    monkeypatch.setattr(device, "is_tensorboard_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    result = gimp(*command, "--adata", "missing.h5ad", "--tensorboard")

    assert result.exit_code == 2
    assert "--tensorboard needs the package tensorboard, which is not installed" in result.stderr
    assert "pip install 'gimp-plugin[tensorboard]'" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
