"""Measure the cost of a prediction by each method of `gimp benchmark`, for a large slide.

    python tests/benchmarks/predict_methods.py --patches 15000 148569

Bags of random features (1,024, float16, in our format) are written to a temporary folder, and each
method predicts from them in a separate process, as `gimp predict` does: from the file to the logits
of two classes, including genes, with untrained weights. Methods whose networks differ only in their
training share a line; `late-fusion` costs the sum of `abmil` and `logistic-genes`. The settings are
those of a preset. CPU time is that of the process from the first byte read to the logits, the
shortest over the rounds. Peak memory is relative to the process after all imports, with the model
built and a bag of 1,000 patches predicted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gimp_plugin.assembly.build import build_model
from gimp_plugin.config import Runtime, load_preset
from gimp_plugin.data.cases import Case
from gimp_plugin.prediction.encoding import each_case
from gimp_plugin.storage.bag_writer import BagWriter
from gimp_plugin.storage.bags import read_info
from gimp_plugin.studies.benchmark.arms import network
from gimp_plugin.studies.benchmark.inputs import _bag_mean
from gimp_plugin.studies.benchmark.memory import Watch, resident
from gimp_plugin.studies.benchmark.methods import METHODS

FEATURE_DIM = 1024
N_WARM = 1000
GIB = 2**30


def main() -> None:
    """Write the bags and let every method predict from each."""
    asked = parsed()
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm.h5"
        write_bag(warm, N_WARM)
        for n_patches in asked.patches:
            bag = Path(folder) / f"{n_patches}.h5"
            write_bag(bag, n_patches)
            for names in asked.methods or map(", ".join, alike().values()):
                cost = line(names.split(",")[0], (warm, bag), asked)
                say(f"{n_patches:>7} patches  {cost}  {names}")
            bag.unlink()


def line(method: str, bags: tuple[Path, Path], asked: argparse.Namespace) -> str:
    """Cost of a method on a bag; if it is killed, the others continue."""
    try:
        found = [alone(method, bags, asked) for _ in range(asked.rounds)]
    except BrokenProcessPool:
        return "ended by the system"
    best = {name: min(one[name] for one in found) for name in found[0]}
    return "{cpu:7.2f} s CPU  {wall:7.2f} s wall  {gib:5.2f} GiB  {parameters:>10,}".format(**best)


def alone(method: str, bags: tuple[Path, Path], asked: argparse.Namespace) -> dict[str, float]:
    """Predict in a separate process, forked from this one after all imports."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(predicted, method, bags, asked).result()


def alike() -> dict[str, list[str]]:
    """Names of methods, grouped by their network."""
    found: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        if isinstance(method.train, partial) and method.train.func is network:
            found.setdefault(json.dumps(model_changes(name), sort_keys=True), []).append(name)
    found["linear"] = ["logistic-bag"]
    return found


def model_changes(method: str) -> dict[str, Any]:
    """Settings that define the network of a method, without its training."""
    changes = METHODS[method].train.keywords["changes"]
    return {k: v for k, v in changes.items() if k.startswith("model.") and k != "model.trainer"}


def predicted(method: str, bags: tuple[Path, Path], asked: argparse.Namespace) -> dict[str, float]:
    """Predict a small bag, then the bag; return the cost of the latter."""
    torch.set_num_threads(asked.threads)
    once, n_parameters = linear() if method == "logistic-bag" else networked(method, asked)
    warm, bag = map(read_info, bags)
    once(warm)
    watch = Watch(torch.device("cpu"))
    base, cpu, wall = resident("VmRSS"), time.process_time(), time.perf_counter()
    once(bag)
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "gib": (watch.memory - base) / GIB,
        "parameters": n_parameters,
    }


def networked(method: str, asked: argparse.Namespace) -> tuple[Any, int]:
    """Return a function that predicts with a network, and the network's size."""
    config = load_preset(asked.preset, model_changes(method)).model
    model = build_model(
        config, n_genes=asked.genes, feature_dim=FEATURE_DIM, n_classes=2, seed=0, decoder=False
    )
    rng = torch.Generator().manual_seed(0)
    genes = torch.randn(1, asked.genes, generator=rng) if config.has_genes else None

    def once(bag: Any) -> None:
        bags = (bag,) if config.has_slides else ()
        case = Case(case_id="case", bags=bags, gene_row=0 if config.has_genes else -1)
        runtime = Runtime(device="cpu")
        list(each_case(model, [case], genes=genes, give=model.classify, runtime=runtime))

    return once, sum(one.numel() for one in model.parameters())


def linear() -> tuple[Any, int]:
    """Return a function that predicts by regression on the mean patch, and its size."""
    weights = np.random.default_rng(0).normal(size=FEATURE_DIM)
    return lambda bag: _bag_mean(Case(case_id="case", bags=(bag,))) @ weights, FEATURE_DIM + 1


def write_bag(path: Path, n_patches: int) -> None:
    """Write a bag of random features."""
    rng = np.random.default_rng(0)
    with BagWriter(path, dim=FEATURE_DIM, attributes={}, n_patches=n_patches) as bag:
        for start in range(0, n_patches, 8192):
            place = np.arange(start, min(start + 8192, n_patches))
            features = rng.standard_normal((len(place), FEATURE_DIM), np.float32)
            bag.append(features, 256 * np.stack([place % 400, place // 400], axis=1))


def say(text: str) -> None:
    """Print a line without buffering."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--patches", type=int, nargs="+", default=[15000, 148569])
    parser.add_argument("--genes", type=int, default=60480)
    parser.add_argument("--preset", default="recommended")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="+", help="only these")
    return parser.parse_args()


if __name__ == "__main__":
    main()
