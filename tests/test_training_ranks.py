"""Several processes train as one does: losses, gradients, refusals, deaths, resuming."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.nn import functional

from gimp_plugin.assembly.device import device_of
from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.errors import ConfigError, ElsewhereError, ResourceError
from gimp_plugin.models.losses import triplet_loss
from gimp_plugin.storage import runs
from gimp_plugin.training.ranks import Ranks, joined
from tests.model_factory import draw
from tests.ranks_worker import N_BARE, config_of, study_of, trained
from tests.test_training_tracking import logged, told

ROOT = Path(__file__).parents[1]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
AT_MOST_S = 60


@contextmanager
def launched(*arguments):
    """Start two processes of a module; none is left."""
    environment = os.environ | LOOPBACK | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *TORCHRUN, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # its workers get the signal, too


def results(path):
    return {name: (path / name).read_bytes() for name in runs.RESULTS}


def assert_alike(one, other):
    """Weights of two runs are equal but for a few.

    Where a gradient is nothing but rounding, AdamW divides it by itself and moves the weight by as
    much as the learning rate.
    """
    first, second = (load_file(folder / runs.MODEL) for folder in (one, other))
    assert list(first) == list(second)
    differences = torch.cat([(first[name] - second[name]).abs().flatten() for name in first])
    assert differences.max() < 4e-3
    assert (differences > 1e-5).float().mean() < 0.005


def embedded(weight, inputs):
    return functional.normalize(inputs @ weight, dim=-1)


def gradient_of_ranks(world, weight, inputs, labels, *, factor):
    """What averaging the gradients of the ranks gives, each with its own rows put back."""
    n_each = -(-len(inputs) // world)
    padded = [
        functional.pad(inputs[rank::world], (0, 0, 0, n_each))[:n_each] for rank in range(world)
    ]
    gathered = torch.cat([embedded(weight.detach(), own) for own in padded])
    gradients = []
    for rank in range(world):
        own = embedded(weight, inputs[rank::world])
        every = Ranks(rank, world).put_back(gathered, own, len(inputs))
        loss = triplet_loss(every, labels, margin=0.8).loss * factor
        gradients.append(torch.autograd.grad(loss, weight)[0])
    return torch.stack(gradients).mean(dim=0)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_gathered_triplets_have_the_gradient_of_one_process_and_a_share_without_the_factor(world):
    weight, inputs = draw(5, 3).requires_grad_(), draw(7, 5, seed=1)
    labels = torch.tensor([0, 1, 0, 2, 1, 1, 0])

    loss = triplet_loss(embedded(weight, inputs), labels, margin=0.8).loss
    expected = torch.autograd.grad(loss, weight)[0]

    given = (world, weight, inputs, labels)
    assert (gradient_of_ranks(*given, factor=world) - expected).abs().max() < 1e-12
    assert (gradient_of_ranks(*given, factor=1) * world - expected).abs().max() < 1e-12
    assert expected.abs().max() > 0.01


def test_each_item_of_a_batch_belongs_to_one_rank_and_no_rank_is_left_without():
    shares = [Ranks(rank, 4).share(range(7)) for rank in range(4)]

    assert sorted(item for share in shares for item in share) == list(range(7))
    assert [len(share) for share in shares] == [2, 2, 2, 1]
    assert [Ranks(rank, 4).share([5, 3], filled=True) for rank in range(4)] == [[5], [3], [5], [5]]


@pytest.fixture
def launcher(monkeypatch):
    """A process that a launcher started as one of four on a machine with three GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for name, value in {"LOCAL_RANK": 0, "RANK": 0, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("cuda:1", ConfigError, "--device cuda:1 names one GPU"),
        ("cuda", ResourceError, "4 processes on a machine where torch sees 3 GPUs"),
        ("auto", ResourceError, "4 processes on a machine where torch sees 3 GPUs"),
    ],
)
def test_a_device_that_the_processes_cannot_have_is_refused(launcher, device, error, message):
    with pytest.raises(error, match=message), joined(Runtime(device=device)):
        pass


def test_what_one_process_of_a_machine_says_the_others_do_not(launcher):
    launcher.setenv("LOCAL_RANK", "1")

    with pytest.raises(ElsewhereError) as caught, joined(Runtime(device="cuda:1")):
        pass

    assert caught.value.exit_code == ConfigError.exit_code


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_would_shard_the_model_is_refused(monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")

    with pytest.raises(ConfigError, match=f"set up for {name}"), joined(Runtime(device="cpu")):
        pass


def test_a_launcher_told_to_use_the_cpu_is_obeyed_or_contradicted_aloud(launcher):
    launcher.setenv("ACCELERATE_USE_CPU", "true")

    assert device_of(Runtime(device="auto")) == torch.device("cpu")
    with pytest.raises(ConfigError, match="contradict"):
        device_of(Runtime(device="cuda"))


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("arguments", [("pretrain", "--nonsense"), ("pretrain", "--config", "no")])
def test_a_wrong_command_line_is_said_once(launcher, rank, arguments):
    launcher.setenv("RANK", rank)

    result = CliRunner().invoke(cli, arguments)

    assert result.exit_code == 2
    assert bool(result.stderr) == (rank == "0")


@pytest.fixture(scope="module")
def alone_and_together(tmp_path_factory):
    """The same trainings by one process and by two, and what each rank saw."""
    folder = tmp_path_factory.mktemp("ranks")
    source = study_of(folder)
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    with launched("tests.ranks_worker", folder, folder / "two", "cpu") as process:
        alone = trained(source, folder / "one", Runtime(device="cpu", precision="fp32"))
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    seen = [json.loads((folder / "two" / f"rank{rank}.json").read_text()) for rank in range(2)]
    return folder, alone, seen


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "finetune", "few", "pairs"])
def test_two_processes_have_the_losses_gradients_and_weights_of_one(alone_and_together, stage):
    folder, alone, seen = alone_and_together

    n_steps = len(alone[stage]["loss"])
    assert n_steps >= 5
    for rank in seen:
        # Sums in another order, and fine-tuning starts from weights that differ by it.
        assert rank[stage]["loss"] == pytest.approx(alone[stage]["loss"], abs=1e-5)
        assert rank[stage]["norm"] == pytest.approx(alone[stage]["norm"], rel=1e-4)
    assert_alike(*(folder / name / stage for name in ("one", "two")))
    figures = [runs.read_run(folder / name / stage).metrics["stages"] for name in ("one", "two")]
    chosen = [{name: each["chosen_epoch"] for name, each in stages.items()} for stages in figures]
    assert chosen[0] == chosen[1]


@pytest.mark.slow
def test_cases_without_a_class_pre_train_in_two_processes_as_in_one(alone_and_together):
    folder, alone, _ = alone_and_together

    for name, n_bare in (("pretrain", N_BARE), ("few", 0)):
        one, two = (runs.read_run(folder / place / name) for place in ("one", "two"))
        assert one.metrics.get("n_unlabelled", 0) == two.metrics.get("n_unlabelled", 0) == n_bare
        assert one.trained_on == two.trained_on
    # Genes: 19 cases with a class in batches of 18. Then 24 in batches of 6 with, 3 without one.
    assert len(alone["pretrain"]["loss"]) == 3 * 2 + 3 * 2


@pytest.mark.slow
def test_the_number_of_processes_stands_in_the_provenance_alone(alone_and_together):
    folder, _, _ = alone_and_together

    one, two = (folder / name / "finetune" for name in ("one", "two"))
    told = [json.loads((run / runs.PROVENANCE).read_text())["processes"] for run in (one, two)]
    assert told == [1, 2]
    assert json.loads((one / runs.CONFIG).read_text())["config"] == config_of().to_dict()
    for name in (runs.GENES, runs.LABELS, runs.SPLITS, runs.CASES):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.slow
def test_the_dropout_of_each_rank_is_its_own_and_repeats(alone_and_together):
    folder, _, seen = alone_and_together

    first, second = (rank["dropout"]["seed"] for rank in seen)
    assert not set(first) & set(second)
    assert results(folder / "two" / "dropout") == results(folder / "two" / "dropout-again")


@pytest.mark.slow
def test_the_first_process_alone_tells_tensorboard(alone_and_together):
    folder, _, _ = alone_and_together

    run = folder / "two" / "dropout"
    assert len(list((run / runs.TENSORBOARD).iterdir())) == 1
    assert told(run) == logged(run)


@pytest.mark.slow
def test_the_first_process_alone_tells_plugins(alone_and_together):
    _, alone, (first, second) = alone_and_together

    assert first["pretrain"]["told"] == alone["pretrain"]["told"] == [1, 2, 3, 1, 2, 3]
    assert second["pretrain"]["told"] == []


@pytest.mark.slow
def test_a_refusal_is_one_of_all_ranks_and_said_by_the_first(alone_and_together):
    _, _, seen = alone_and_together

    assert [rank["again"] for rank in seen] == ["nothing to do"] * 2
    assert [rank["refused"] for rank in seen] == [
        {"type": "StaleOutputError", "code": 3},
        {"type": "ElsewhereError", "code": 3},
    ]


@pytest.mark.slow
def test_a_loss_that_one_rank_breaks_stops_all_and_names_the_cases_of_the_batch(alone_and_together):
    folder, _, seen = alone_and_together

    said = seen[0]["broken"]
    assert [rank["broken"]["code"] for rank in seen] == [5, 5]
    assert [rank["broken"]["type"] for rank in seen] == ["NotFiniteError", "ElsewhereError"]
    assert re.search(r"finetune stopped being finite \(nan\) in epoch 2.*'P\d\d'", said["text"])
    assert (folder / "two" / "broken" / runs.RESUME).is_dir()


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_have_the_losses_and_gradients_of_one(tmp_path):
    """Float32 on both; a GPU adds up in no fixed order, hence the tolerances."""
    source = study_of(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    alone = trained(source, tmp_path / "one", Runtime(device="cuda", precision="fp32"))

    with launched("tests.ranks_worker", tmp_path, tmp_path / "two", "cuda") as process:
        _, errors = process.communicate()

    assert process.returncode == 0, errors
    for rank in range(2):
        seen = json.loads((tmp_path / "two" / f"rank{rank}.json").read_text())
        for stage, noted in alone.items():
            assert seen[stage]["loss"] == pytest.approx(noted["loss"], rel=1e-3)
            assert seen[stage]["norm"] == pytest.approx(noted["norm"], rel=1e-2)


SETTINGS = """
[model]
dim = 16
n_heads = 2
n_landmarks = 5
convolution_taps = 3
attention_dropout = 0.0
embedding_dropout = 0.0
[genes]
epochs = 2
[pretrain]
subsequence_length = 13
"""


@pytest.fixture
def command(tmp_path):
    """A training from the command line."""
    source = study_of(tmp_path)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    inputs = ("--adata", source.adata, "--features", source.features, "--unlabelled", "use")
    rest = ("--device", "cpu", "--config", tmp_path / "settings.toml")
    return ("gimp_plugin", "pretrain", *inputs, *rest)


def rank_of(process, number):
    """Id of a process that a launcher started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    given = {child: Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    return next(int(child) for child, own in given.items() if f"RANK={number}".encode() in own)


@pytest.mark.slow
def test_a_refusal_ends_both_processes_of_the_command_with_one_message(command, tmp_path):
    with launched(*command, "--splits", tmp_path / "none.csv") as process:
        _, errors = process.communicate()

    assert process.returncode != 0
    assert re.findall(r"^Error: .*", errors, re.MULTILINE) == [
        f"Error: no table {str(tmp_path / 'none.csv')!r}"
    ]
    assert re.findall(r"exitcode +: (-?\d+)", errors) == ["3", "3"]
    assert not (ROOT / "runs").exists()


@pytest.mark.slow
def test_when_a_rank_is_killed_the_other_ends_and_one_process_goes_on(command, tmp_path):
    output, whole = tmp_path / "run", tmp_path / "whole"
    arguments = (*command, "--epochs", 12)
    with launched(*arguments, "-o", output) as process:
        while not (output / runs.RESUME / "00000004").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)

        os.kill(rank_of(process, 1), signal.SIGKILL)
        killed = time.monotonic()
        _, errors = process.communicate()

    assert process.returncode != 0
    assert time.monotonic() - killed < AT_MOST_S
    assert not (output / runs.MODEL).exists()
    assert "Error: another process of this training is gone" in errors or "Terminated" in errors

    for folder in (output, whole):
        result = CliRunner().invoke(cli, [*map(str, arguments[1:]), "-o", str(folder)])
        assert result.exit_code == 0, result.stderr
    assert_alike(output, whole)
    lines = [json.loads(line) for line in (output / runs.LOG).read_text().splitlines()]
    epochs = [line["epoch"] for line in lines if line["stage"] == "pretrain"]
    assert epochs == list(range(1, 13))
