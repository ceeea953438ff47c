"""Compare ways to fit the temperature of a run by their test log loss and calibration error.

    python tests/benchmarks/temperature.py study/
    python tests/benchmarks/temperature.py study/ more/ --sizes 20 50 --draws 200

Reads the networks of `gimp benchmark` folders: `predictions.csv` and the temperature in
`metrics.json`. Up to a constant for each case, their logits are log(probability) x temperature.
Each way fits a temperature on the validation cases, or on a random subset of them, and is evaluated
on the test cases. Figures are means over the trainings and draws.

T = 1       the network as it is
labels      least log loss (arXiv 1706.04599); 1 if all cases are right
Platt       the same against (N_c + 1) / (N_c + K), N_c the cases of the true class
succession  the same against (N + 1) / (N + K): what fine-tuning does
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from gimp_plugin.evaluation.text import table
from gimp_plugin.storage.predictions import Predictions, read_predictions
from gimp_plugin.storage.runs import read_run
from gimp_plugin.training.calibration import LIMITS, calibration

Floats = NDArray[np.float64]
Cases = tuple[Floats, NDArray[np.int64]]
"""Logits, shape (case, class), and class indices."""


def loss(logits: Floats, targets: Floats) -> float:
    """Mean log loss."""
    return float(-(targets * log_softmax(logits, axis=1)).sum(axis=1).mean())


def fitted(logits: Floats, targets: Floats) -> float:
    """Temperature with the least loss within the limits."""
    low, high = map(math.log, LIMITS)
    found = minimize_scalar(
        lambda x: loss(logits / math.exp(x), targets), bounds=(low, high), method="bounded"
    )
    return math.exp(found.x)


def by_labels(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Fit the labels; 1 if all are right."""
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    return fitted(logits, np.eye(logits.shape[1])[labels])


def by_platt(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Fit Platt's targets."""
    n_classes = logits.shape[1]
    count = np.bincount(labels, minlength=n_classes)[labels][:, None]
    return fitted(logits, (count * np.eye(n_classes)[labels] + 1) / (count + n_classes))


def by_succession(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Fit as fine-tuning does."""
    return float(calibration(torch.from_numpy(logits), torch.from_numpy(labels))["temperature"])


WAYS: dict[str, Callable[[Floats, NDArray[np.int64]], float]] = {
    "T = 1": lambda _logits, _labels: 1.0,
    "labels": by_labels,
    "Platt": by_platt,
    "succession": by_succession,
}


def error(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Expected calibration error, 15 bins."""
    p = softmax(logits, axis=1)
    gaps = (p.argmax(axis=1) == labels) - p.max(axis=1)
    bins = np.ceil(15 * p.max(axis=1)).astype(int)
    return float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(labels))


def part_of(found: Predictions, part: str, temperature: float) -> Cases:
    """Logits and labels of a part."""
    own = (np.array(found.splits) == part) & (found.labels >= 0)
    logits = temperature * np.log(np.maximum(found.probabilities[own], 1e-300))
    return logits, found.labels[own]


def trainings(folders: Sequence[Path]) -> Iterator[tuple[Cases, Cases]]:
    """Validation and test cases of every finished network."""
    for folder in folders:
        for run in sorted(folder.glob("cells/*/*/finetune")):
            control = run.parent.parent.name == "gimp-shuffled"  # its labels are shuffled
            if (run.parent / "cell.json").exists() and not control:
                temperature = read_run(run).temperature
                found = read_predictions(run.parent / "predictions.csv")
                yield part_of(found, "val", temperature), part_of(found, "test", temperature)


def main() -> None:
    """Print a table for each number of validation cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--sizes", nargs="*", type=int, default=[20, 50], help="0: all cases")
    parser.add_argument("--draws", type=int, default=60)
    asked = parser.parse_args()
    cells = list(trainings(asked.studies))
    for size in [0, *asked.sizes]:
        scores = scored(cells, size, asked.draws)
        groups = {"all": scores[True] + scores[False], "all cases right": scores[True]}
        means = [np.mean(own, axis=0) for own in groups.values() if own]
        header = [f"{name} ({len(own)})" for name, own in groups.items() if own]
        rows = [
            [name, *(f"{one[place][0]:.3f} / {one[place][1]:.3f}" for one in means)]
            for place, name in enumerate(WAYS)
        ]
        title = f"{len(cells)} trainings, {size or 'all'} validation cases"
        sys.stdout.write(f"\n{title}\n{table(['log loss / ECE', *header], rows)}\n")


def scored(
    cells: Sequence[tuple[Cases, Cases]], size: int, n_draws: int
) -> dict[bool, list[list[tuple[float, float]]]]:
    """Log loss and error of each way and draw, by whether all validation cases are right."""
    rng = np.random.default_rng(0)
    scores: dict[bool, list[list[tuple[float, float]]]] = {True: [], False: []}
    for (logits, labels), (test, truth) in cells:
        targets = np.eye(test.shape[1])[truth]
        for _ in range(n_draws if size else 1):
            rows = rng.permutation(len(labels))[: size or None]
            right = bool((logits[rows].argmax(axis=1) == labels[rows]).all())
            found = [test / way(logits[rows], labels[rows]) for way in WAYS.values()]
            scores[right].append([(loss(one, targets), error(one, truth)) for one in found])
    return scores


if __name__ == "__main__":
    main()
