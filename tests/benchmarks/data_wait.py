"""Measure the share of time that training waits for data, on your own cohort.

    python tests/benchmarks/data_wait.py genes.h5ad features/ --splits obs:fold --fold 0
    python tests/benchmarks/data_wait.py genes.h5ad features/ --set model.dim=128 --num-workers 2
    python tests/benchmarks/data_wait.py genes.h5ad features/ --preset paper --steps 4

`gimp pretrain` and `gimp finetune` run unchanged, into a temporary folder, for one epoch each.
Waiting is the time from the end of a step to the next batch: reading, drawing, masking and padding,
or waiting for the loader processes. The total is the epoch without its validation. Both are given
in wall-clock seconds and in this process's CPU seconds, which other programs on the machine disturb
less; with loader processes, only the wall clock shows the waiting. `--steps` ends each stage early;
fine-tuning then starts from the genes alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gimp_plugin.config import CohortSource, Runtime, load_preset
from gimp_plugin.training import finetune, pretrain
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.pretraining import PretrainStage
from gimp_plugin.training.stage import Stage, Step

CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


def main() -> None:
    """Run both stages and print how long each waited."""
    asked = parsed()
    changes = dict(one.split("=", 1) for one in asked.set)
    changes |= {f"{stage}.epochs": "1" for stage in ("genes", "pretrain", "finetune")}
    config = load_preset(asked.preset, {name: number(value) for name, value in changes.items()})
    source = CohortSource(
        adata=asked.adata, features=asked.features, label_key=asked.label_key, scale=asked.scale,
        splits=asked.splits, fold=asked.fold,
    )  # fmt: skip
    runtime = Runtime(device=asked.device, num_workers=asked.num_workers)
    watched = [Watched(stage, asked.steps) for stage in (PretrainStage, FinetuneStage)]
    with tempfile.TemporaryDirectory() as folder:
        pretrained, output = Path(folder) / "pretrain", Path(folder) / "finetune"
        start = "genes" if asked.steps else str(pretrained)
        with suppress(EnoughError):
            pretrain(source, config, output=pretrained, runtime=runtime)
        with suppress(EnoughError):
            finetune(source, config, start=start, output=output, runtime=runtime)
    for one in watched:
        one.report()


class EnoughError(Exception):
    """The requested number of steps has been made."""


class Watched:
    """The batches of a stage, with the time waited for each."""

    def __init__(self, stage: type[Stage], n_wanted: int) -> None:
        self.name, self.n_steps = stage.name, 0
        self.waited, self.whole = (dict.fromkeys(CLOCKS, 0.0) for _ in range(2))
        plain = stage.batches

        def batches(own: Stage, epoch: int, *, skip: int = 0) -> Iterator[Step]:
            began = now()
            steps = plain(own, epoch, skip=skip)
            while True:
                asked = now()
                step = next(steps, None)
                self.waited = added(self.waited, asked)
                if step is None or self.n_steps == n_wanted > 0:
                    break
                self.n_steps += 1
                yield step
            self.whole = added(self.whole, began)
            if step is not None:
                raise EnoughError

        stage.batches = batches

    def report(self) -> None:
        """Print one line per clock."""
        for clock, whole in self.whole.items():
            waited = self.waited[clock]
            sys.stdout.write(
                f"{self.name:<9}{self.n_steps:5d} steps  {whole / self.n_steps:7.3f} s a step  "
                f"waited {waited:6.2f} of {whole:7.2f} s by the {clock:<9}  {waited / whole:5.1%}\n"
            )


def now() -> dict[str, float]:
    """Current time of each clock."""
    return {name: read() for name, read in CLOCKS.items()}


def added(total: dict[str, float], since: dict[str, float]) -> dict[str, float]:
    """Add the time passed since a reading to the totals."""
    return {name: total[name] + value - since[name] for name, value in now().items()}


def number(text: str) -> Any:
    """A setting's value."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parsed() -> argparse.Namespace:
    """Cohort and settings from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adata", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--label-key", default="label")
    parser.add_argument("--scale")
    parser.add_argument("--splits")
    parser.add_argument("--fold")
    parser.add_argument("--preset", default="recommended")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
