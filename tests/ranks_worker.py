"""What each of several processes of a launcher does in the tests of training over ranks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import Accelerator

from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.errors import GimpError
from gimp_plugin.training import finetune, loop, pretrain
from gimp_plugin.training.finetuning import FinetuneStage
from gimp_plugin.training.pretraining import PretrainStage
from gimp_plugin.training.stage import LOSS
from tests.study_factory import make_study, tiny_config

CLASSES = ("A", "B", "C")
N_LABELLED, N_BARE = 33, 5
FEW = [[4], [2, 9, 11], [7, 5]]
"""Batches of which the first has no case for the second of two ranks."""


def study_of(folder: Path) -> CohortSource:
    """Sizes that two processes cannot share evenly; some cases have no class and pre-train only."""
    labels = [CLASSES[case % 3] for case in range(N_LABELLED)] + [""] * N_BARE
    return replace(make_study(folder, labels=labels), unlabelled="use")


def config_of(*, dropout: float = 0.0) -> GimpConfig:
    """19 training cases with a class in batches of 18, so that a batch of one case occurs."""
    return tiny_config(
        model__attention_dropout=dropout,
        model__embedding_dropout=dropout,
        genes__batch_size=18,
        pretrain__batch_size=9,
        pretrain__epochs=3,
        finetune__batch_size=18,
        finetune__class_weights="balanced",
    )


@contextmanager
def recorded() -> Iterator[dict[str, list[float]]]:
    """Loss and norm of each step, the seed of its dropout, and epochs that plugins hear of.

    Adam divides by the size of the gradient, so that one which is rounding alone would make a whole
    step of it; with a large eps it does not.
    """
    noted: dict[str, list[float]] = {"loss": [], "norm": [], "seed": [], "told": []}
    step, clip, forward = loop._Fit._step, Accelerator.clip_grad_norm_, PretrainStage.forward
    optimiser_of = loop.adamw

    def noting(self: Any, *arguments: Any) -> Any:
        terms = step(self, *arguments)
        noted["loss"].append(terms[LOSS].item())
        return terms

    def clipping(self: Any, *arguments: Any) -> Any:
        norm = clip(self, *arguments)
        noted["norm"].append(float(norm))
        return norm

    def seeing(self: Any, **inputs: Any) -> Any:
        noted["seed"].append(torch.initial_seed())
        return forward(self, **inputs)

    def calmer(*arguments: Any, **settings: Any) -> torch.optim.Optimizer:
        optimiser = optimiser_of(*arguments, **settings)
        for group in optimiser.param_groups:
            group["eps"] = 1e-2
        return optimiser

    def telling(_stage: str, epoch: int, **_values: Any) -> None:
        noted["told"].append(epoch)

    with (
        mock.patch.object(loop, "tell_epoch", telling),
        mock.patch.object(loop, "adamw", calmer),
        mock.patch.object(loop._Fit, "_step", noting),
        mock.patch.object(Accelerator, "clip_grad_norm_", clipping),
        mock.patch.object(PretrainStage, "forward", seeing),
    ):
        yield noted


def trained(source: CohortSource, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Train all that must not depend on the number of processes, and say how it went."""
    config, noted = config_of(), {}
    with recorded() as noted["pretrain"]:
        pretrain(source, config, output=folder / "pretrain", runtime=runtime)
    with recorded() as noted["finetune"]:
        start = str(folder / "pretrain")
        finetune(source, config, start=start, output=folder / "finetune", runtime=runtime)
    source = replace(source, unlabelled="drop")
    with recorded() as noted["few"], mock.patch.object(PretrainStage, "_order", return_value=FEW):
        summed = {"pretrain.reconstruction": "sum", "pretrain.reconstruction_weight": 0.01}
        pretrain(source, config.replace(summed), output=folder / "few", runtime=runtime)
    with recorded() as noted["pairs"]:
        pairs = {"model.trainer": "mgca", "model.n_groups": 2, "model.n_fragments": 4}
        pretrain(source, config.replace(pairs), output=folder / "pairs", runtime=runtime)
    return noted


def refused(source: CohortSource, folder: Path) -> dict[str, Any]:
    """How an output of another seed ends on this rank."""
    try:
        pretrain(source, config_of(), output=folder / "pretrain", runtime=Runtime(seed=5))
    except GimpError as error:
        return {"type": type(error).__name__, "code": error.exit_code}
    return {}


def broken(source: CohortSource, folder: Path, *, rank: int) -> dict[str, Any]:
    """How a loss ends that stops being finite in the second epoch, by a case of the last rank."""
    logits, calls = FinetuneStage._logits, []

    def breaking(self: Any, *arguments: Any) -> Any:
        calls.append(1 if self.training else 0)
        factor = float("nan") if rank == 1 and sum(calls) == 3 and calls[-1] else 1.0
        return logits(self, *arguments) * factor

    with mock.patch.object(FinetuneStage, "_logits", breaking):
        try:
            output = folder / "broken"
            finetune(source, config_of(), start="none", output=output, runtime=Runtime())
        except GimpError as error:
            return {"type": type(error).__name__, "code": error.exit_code, "text": str(error)}
    return {}


def main(given: Path, folder: Path, device: str) -> None:
    """Train with the other ranks, and write what this one saw."""
    files = {"adata": given / "genes.h5ad", "features": given / "features"}
    source = CohortSource(**files, unlabelled="use")
    rank, runtime = int(os.environ["RANK"]), Runtime(device=device, precision="fp32")
    noted = trained(source, folder, runtime)
    if device == "cpu":
        noted["again"] = pretrain(
            source, config_of(), output=folder / "pretrain", runtime=runtime
        ).outcome
        for name in ("dropout", "dropout-again"):
            watched = replace(runtime, tensorboard=name == "dropout")
            with recorded() as noted[name]:
                config = config_of(dropout=0.3)
                pretrain(source, config, output=folder / name, runtime=watched)
        noted["refused"] = refused(source, folder)
        noted["broken"] = broken(source, folder, rank=rank)
    (folder / f"rank{rank}.json").write_text(json.dumps(noted))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
