"""Measure the coverage of the intervals and the power of the test of `gimp evaluate`.

    python tests/benchmarks/interval_coverage.py

Tables on simulated patients: how often a 95 % interval contains the true AUC, accuracy, calibration
error and mean of faithfulness, and how often the swap test distinguishes two methods. One fold, two
classes. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from gimp_plugin.evaluation import metrics, scores, statistics
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.text import table

Floats = NDArray[np.float64]

SIZES = ((6, 6), (10, 10), (20, 20), (30, 30), (30, 150), (60, 60), (100, 100))
AUCS = (0.7, 0.9, 0.95, 0.99)
ACCURACIES = (0.6, 0.8, 0.9, 0.95, 0.99)
N_CASES = (10, 30, 120, 200)
SURENESS = ((1.0, 1.0), (4.0, 0.5), (0.5, 4.0))
"""Factors of the logits of the two methods."""


def patients(labels: NDArray[np.int64], logits: Floats) -> Patients:
    """Patients of one fold and two classes."""
    positive = expit(logits)
    return Patients(
        case_ids=tuple(f"CASE-{row}" for row in range(len(labels))),
        classes=("LUAD", "LUSC"),
        labels=labels,
        predicted=(positive > 0.5).astype(int),
        probabilities=np.stack([1 - positive, positive], axis=1),
        folds=("0",) * len(labels),
        modalities=("slides+genes",) * len(labels),
    )


def distance(auc: float) -> float:
    """Distance between two normal distributions of equal width that gives an AUC."""
    return float(np.sqrt(2) * norm.ppf(auc))


def scored(rng: np.random.Generator, sizes: tuple[int, int], auc: float) -> Patients:
    """Draw normally distributed scores of two classes."""
    labels = np.repeat([1, 0], sizes)
    return patients(labels, rng.normal(size=len(labels)) + distance(auc) * labels)


def holds(ends: tuple[float, float], true: float) -> bool:
    """Tell whether an interval contains a value."""
    return ends[0] <= true <= ends[1]


def auc_rows(rng: np.random.Generator, n: int) -> Iterator[Sequence[str]]:
    """Coverage of the bootstrap interval of the AUC."""
    for auc in AUCS:
        row = [str(auc)]
        for sizes in SIZES:
            held = sum(
                holds(
                    statistics.bootstrap(
                        scored(rng, sizes, auc), {"auc": metrics.auc}, seed=int(draw)
                    )["auc"],
                    auc,
                )
                for draw in range(n)
            )
            row.append(f"{held / n:.0%}")
        yield row


def accuracy_rows(rng: np.random.Generator, n: int) -> Iterator[Sequence[str]]:
    """Coverage of Wilson's interval."""
    for accuracy in ACCURACIES:
        row = [str(accuracy)]
        for n_cases in N_CASES:
            hits = rng.binomial(n_cases, accuracy, size=20 * n)
            held = sum(holds(statistics.wilson(int(one), n_cases), accuracy) for one in hits)
            row.append(f"{held / len(hits):.0%}")
        yield row


def calibration_rows(rng: np.random.Generator, n: int, *, n_cases: int) -> Iterator[Sequence[str]]:
    """Coverage of the interval of the calibration error; its true value is of 2,000,000 cases."""

    def drawn(size: int, sharpness: float) -> Patients:
        logits = rng.normal(scale=2, size=size)
        labels = (rng.random(size) < expit(logits)).astype(int)
        return patients(labels, sharpness * logits)

    for sharpness in (1.0, 2.0):
        many = drawn(2_000_000, sharpness) if sharpness != 1 else None
        true = 0.0 if many is None else scores.value(metrics.calibration_error, many)
        held = 0
        for draw in range(n):
            some = drawn(n_cases, sharpness)
            if len(set(some.labels.tolist())) < 2:
                continue
            value = scores.value(metrics.calibration_error, some)
            ends = statistics.bootstrap(some, {"ece": metrics.calibration_error}, seed=draw)
            held += holds(statistics.reflected(value, *ends["ece"]), true)
        yield f"{sharpness:g}", f"{true:.3f}", f"{held / n:.0%}"


def mean_rows(rng: np.random.Generator, n: int) -> Iterator[Sequence[str]]:
    """Coverage of the interval of a mean over cases."""
    for n_cases in (2, 5, 10, 30, 100):
        held = sum(
            holds(statistics.mean_interval(rng.normal(size=n_cases), seed=draw), 0)
            for draw in range(n)
        )
        yield str(n_cases), f"{held / n:.0%}"


def swap_rows(rng: np.random.Generator, n: int) -> Iterator[Sequence[str]]:
    """Share of draws of 100 patients in which two methods differ at p <= 0.05."""
    labels = np.repeat([1, 0], 50)
    for name, aucs in (("0.96 and 0.84", (0.96, 0.84)), ("0.9 and 0.9", (0.9, 0.9))):
        for first, second in SURENESS:
            told = 0
            for draw in range(n):
                shared = rng.normal(size=100)
                own = rng.normal(size=(2, 100))
                # Half of the noise is the patient's, half the method's.
                noise = np.sqrt(0.5) * (shared + own)
                logits = [
                    distance(auc) * (labels - 0.5) + one
                    for auc, one in zip(aucs, noise, strict=True)
                ]
                one = patients(labels, first * logits[0])
                other = patients(labels, second * logits[1])
                found = statistics.swap_test(one, other.probabilities, seed=draw, n_swaps=1000)
                told += found[1] <= 0.05
            yield name, f"{first:g}, {second:g}", f"{told / n:.1%}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=400, help="simulated cohorts of each entry")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, n = np.random.default_rng(options.seed), options.draws
    sizes = ["true AUC", *(f"{rare}, {frequent}" for rare, frequent in SIZES)]
    sys.stdout.write(table(sizes, auc_rows(rng, n)) + "\n")
    counts = ["true accuracy", *map(str, N_CASES)]
    sys.stdout.write(table(counts, accuracy_rows(rng, n)) + "\n")
    errors = ["logits x", "true ECE", "held, 120 cases"]
    sys.stdout.write(table(errors, calibration_rows(rng, n, n_cases=120)) + "\n")
    sys.stdout.write(table(["cases", "mean held"], mean_rows(rng, n)) + "\n")
    sys.stdout.write(table(["AUCs", "logits x", "p <= 0.05"], swap_rows(rng, n)) + "\n")


if __name__ == "__main__":
    main()
