"""A training that is killed at any moment leaves no broken file, and ends with the same bytes.

What a kill leaves behind depends on the file operations before it alone, so these are counted
instead of seconds: every kill falls where it shall, on a busy machine too.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import safetensors.torch
from safetensors import safe_open

from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.storage import runs
from gimp_plugin.storage.resume import STATE, TENSORS, latest_checkpoint
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import loop, pretrain
from tests.forkserver import FORKED
from tests.study_factory import make_study, tiny_config

N_KILLS = 16
RENAMED = "renamed"
IN_A_CHECKPOINT = [
    *((TENSORS, share) for share in (1e-6, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.999999, 1.0)),
    *((STATE, share) for share in (1e-6, 0.3, 0.6, 0.9, 1.0)),
    (RENAMED, 0.0),
]
"""A file of a checkpoint and the share of it that is written; or all of it, but for its name."""

OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}
Killer = Callable[..., None]


def train(source: CohortSource, output: Path, killer: Killer | None, *arguments: object) -> None:
    """Train with a checkpoint after every step, in a process that something may kill."""
    logging.disable(logging.WARNING)
    loop.CHECKPOINT_S = 0.0
    if killer is not None:
        killer(output, *arguments)
    config = tiny_config(genes__epochs=3, pretrain__epochs=6)
    pretrain(source, config, output=output, runtime=Runtime())


def ended(source: CohortSource, output: Path, killer: Killer | None, *arguments: object) -> int:
    """Exit code of a training."""
    process = FORKED.Process(target=train, args=(source, output, killer, *arguments))
    process.start()
    process.join()
    return process.exitcode


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_checkpoint(_output: Path, name: str, share: float) -> None:
    """Be killed in the writing of this process's second checkpoint, after a share of a file."""
    started: list[str] = []
    write_text, replace = Path.write_text, Path.replace

    def written(file: str, path: Path, data: bytes) -> None:
        started.append(file)
        if file == name and started.count(file) == 2:
            path.write_bytes(data[: max(1, round(share * len(data)))])
            die()
        path.write_bytes(data)

    def save_file(tensors: dict, path: Path) -> None:
        written(TENSORS, path, safetensors.torch.save(tensors))

    def text(path: Path, data: str, **options: str) -> int:
        if path.name.startswith(f".{STATE}."):
            written(STATE, path, data.encode())
            return len(data)
        return write_text(path, data, **options)

    def rename(path: Path, target: Path) -> Path:
        if name == RENAMED and path.is_dir() and started.count(STATE) == 2:
            die()
        return replace(path, target)

    for owner, attribute, stand_in in (
        (safetensors.torch, "save_file", save_file),
        (Path, "write_text", text),
        (Path, "replace", rename),
    ):
        mock.patch.object(owner, attribute, stand_in).start()


def at_an_operation(output: Path, number: int) -> None:
    """Be killed before this process's operation of that number on a file of the run."""
    left = iter(range(number - 1, -1, -1))

    def hook(event: str, arguments: tuple) -> None:
        ours = event in OPERATIONS and str(arguments[0]).startswith(str(output))
        if ours and next(left) == 0:
            die()

    sys.addaudithook(hook)


def check_readable(folder: Path) -> None:
    """Open every file that stands under a final name."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or ".partial" in str(path.relative_to(folder)):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            read_csv(path)
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                assert list(file.keys())


def results(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in runs.RESULTS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[CohortSource, dict[str, bytes]]:
    """A study with cases without a class, and what a training writes that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    labels = ["" if case % 9 == 4 else ("LUAD", "LUSC")[case % 2] for case in range(40)]
    source = replace(make_study(folder, labels=labels), unlabelled="use")
    assert ended(source, folder / "run", None) == 0
    assert runs.read_run(folder / "run").metrics["n_unlabelled"] == 4
    return source, results(folder / "run")


@pytest.mark.slow
def test_kills_inside_the_writing_of_a_checkpoint_change_no_byte(whole, tmp_path):
    """One training is killed at each of the places, and goes on each time."""
    source, expected = whole
    run, unfinished = tmp_path / "run", 0

    for place in np.random.default_rng(0).permutation(len(IN_A_CHECKPOINT)):
        code = ended(source, run, in_a_checkpoint, *IN_A_CHECKPOINT[place])

        assert code == -signal.SIGKILL
        (left,) = (run / runs.RESUME).glob(".*.partial")
        unfinished += any(path.stat().st_size for path in left.iterdir())
        check_readable(run)
        assert latest_checkpoint(run / runs.RESUME) is not None
        assert not (run / runs.MODEL).exists()

    assert unfinished == len(IN_A_CHECKPOINT) >= 15
    assert ended(source, run, None) == 0
    assert results(run) == expected
    assert not (run / runs.RESUME).exists()


def kills(source: CohortSource, folder: Path) -> Iterator[Path]:
    """Runs that were killed at operations drawn at random (one has about 450), and went on."""
    numbers, run, n_runs = np.random.default_rng(1), folder / "run-0", 0
    while True:
        code = ended(source, run, at_an_operation, int(numbers.integers(1, 230)))
        if code == -signal.SIGKILL:
            yield run
        else:
            assert code == 0
            n_runs += 1
            run = folder / f"run-{n_runs}"


@pytest.mark.slow
def test_kills_between_any_two_operations_on_files_change_no_byte(whole, tmp_path):
    source, expected = whole
    unfinished = 0

    for _, run in zip(range(N_KILLS), kills(source, tmp_path), strict=False):
        check_readable(run)
        provenance = run / runs.PROVENANCE
        sealed = provenance.exists() and json.loads(provenance.read_text()).get("complete")
        unfinished += not sealed

    for run in tmp_path.iterdir():
        assert ended(source, run, None) == 0
        assert results(run) == expected
        assert not (run / runs.RESUME).exists()
    assert unfinished >= N_KILLS / 2
