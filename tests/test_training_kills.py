"""A training that is killed at any moment leaves no broken file, and ends with the same bytes."""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.storage import runs
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import pretrain
from tests.study_factory import make_study, tiny_config

N_KILLS = 20
FORKED = multiprocessing.get_context("forkserver")  # imports torch once, not once a kill


def train(source: CohortSource, output: Path) -> None:
    logging.disable(logging.WARNING)
    config = tiny_config(genes__epochs=3, pretrain__epochs=6)
    pretrain(source, config, output=output, runtime=Runtime())


def started(source: CohortSource, output: Path) -> tuple[multiprocessing.Process, float]:
    """Start a training and wait for its first output."""
    process = FORKED.Process(target=train, args=(source, output))
    process.start()
    while process.is_alive() and not (output / runs.CONFIG).exists():
        time.sleep(0.001)
    return process, time.monotonic()


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_break_no_file_and_change_no_byte(tmp_path):
    FORKED.set_forkserver_preload(["gimp_plugin.training", "scanpy", "tests.test_training_kills"])
    source = make_study(tmp_path, n_cases=40)
    whole, at_first = started(source, tmp_path / "whole")
    whole.join()
    duration = time.monotonic() - at_first
    expected = {name: (tmp_path / "whole" / name).read_bytes() for name in runs.RESULTS}
    moments = np.random.default_rng(0).uniform(0, 0.95 * duration, N_KILLS)

    unfinished = 0
    for number, moment in enumerate(moments):
        output = tmp_path / f"killed-{number}"
        process, _ = started(source, output)
        time.sleep(moment)
        process.kill()
        process.join()
        check_readable(output)
        provenance = output / runs.PROVENANCE
        ended = provenance.exists() and json.loads(provenance.read_text()).get("complete")
        unfinished += not ended
        again, _ = started(source, output)
        again.join()

        assert again.exitcode == 0
        assert {name: (output / name).read_bytes() for name in runs.RESULTS} == expected
        assert not (output / runs.RESUME).exists()

    sys.stdout.write(f"{unfinished} of {N_KILLS} kills left an unfinished run\n")
    assert unfinished >= N_KILLS / 2
