"""Intervals and tests; the unit is always the patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student

from gimp_plugin.evaluation.metrics import Metric, swapped_auc
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.text import SAME

Floats = NDArray[np.float64]

N_DRAWS = 2000
N_SWAPS = 10_000
BLOCK = 250
CONFIDENCE = 0.95


def wilson(n_hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson's score interval).

    Parameters
    ----------
    n_hits, n
        Number of hits, and of trials (at least one).

    Returns
    -------
    Lower and upper end, within 0 to 1.

    Examples
    --------
    >>> low, high = wilson(189, 190)
    >>> round(low, 3), round(high, 3)
    (0.971, 0.999)
    """
    found = binomtest(n_hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(
    patients: Patients, metrics: Mapping[str, Metric], *, seed: int, n_draws: int = N_DRAWS
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals, by drawing patients with replacement.

    Each class keeps its number of patients within each fold, so that no draw lacks a class. All
    metrics are computed on the same draws.

    Parameters
    ----------
    patients
        Patients, at least one of each class in each fold.
    metrics
        Metrics to compute, by name.
    seed
        Seed of the draws.
    n_draws
        Number of draws.

    Returns
    -------
    Lower and upper end by name. A metric with the same value in every draw, such as an AUC of 1,
    has an interval without width.
    """
    values: dict[str, list[Floats]] = {name: [] for name in metrics}
    for weights in draws(patients, seed=seed, n_draws=n_draws):
        for name, metric in metrics.items():
            values[name].append(metric(patients, weights))
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    ends = {name: np.quantile(np.concatenate(each), tails) for name, each in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def reflected(value: float, low: float, high: float) -> tuple[float, float]:
    """95 % interval of a metric that the bootstrap moves away from 0 (basic bootstrap interval).

    The percentile interval is mirrored about the estimate. Without that, the interval of the
    calibration error of a nearly calibrated model would hardly ever contain the true value.

    Parameters
    ----------
    value
        The estimate.
    low, high
        Percentile interval from `bootstrap`.

    Returns
    -------
    Lower and upper end, within 0 to 1; the estimate lies between them.

    Examples
    --------
    >>> low, high = reflected(0.08, 0.06, 0.15)
    >>> round(low, 2), round(high, 2)
    (0.01, 0.1)
    """
    return max(0.0, min(2 * value - high, value)), min(1.0, max(2 * value - low, value))


def mean_interval(values: Floats, *, seed: int, n_draws: int = N_DRAWS) -> tuple[float, float]:
    """95 % percentile interval of a mean, by drawing its values with replacement.

    Parameters
    ----------
    values
        One value per case, at least one.
    seed, n_draws
        Seed and number of draws.

    Returns
    -------
    Lower and upper end.
    """
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(n_draws)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def draws(patients: Patients, *, seed: int, n_draws: int) -> Iterator[Floats]:
    """Draw how often each patient counts, in blocks of shape (draw, case)."""
    rng = np.random.default_rng(seed)
    strata = [
        np.flatnonzero(patients.of_fold(name) & (patients.labels == place))
        for name in patients.fold_names
        for place in range(len(patients.classes))
    ]
    for start in range(0, n_draws, BLOCK):
        weights = np.zeros((min(BLOCK, n_draws - start), len(patients)))
        for members in strata:
            shares = np.full(members.size, 1 / max(1, members.size))
            weights[:, members] = rng.multinomial(members.size, shares, size=len(weights))
        yield weights


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Two-sided exact p of McNemar's test that two systems are right equally often.

    Parameters
    ----------
    first, second
        Whether each system is right about each patient.

    Returns
    -------
    The p-value; 1 if the two never differ.

    Examples
    --------
    >>> right = np.ones(190, bool)
    >>> mcnemar(right, np.arange(190) >= 4)  # four patients more
    0.125
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def swap_test(
    patients: Patients, other: Floats, *, seed: int, n_swaps: int = N_SWAPS
) -> tuple[float, float]:
    """Permutation test for the AUC of two systems on the same patients.

    If the systems do not differ, their probabilities for a patient are interchangeable, so they are
    swapped within randomly chosen patients. This is exact for systems that do not differ at all. If
    both rank equally well but on different scales, because one is more confident or favours a
    class, p is too large: the test is conservative and may miss a difference.

    Parameters
    ----------
    patients
        The patients, with the probabilities of the first system.
    other
        Probabilities of the second system, shape (case, class).
    seed
        Seed of the swaps.
    n_swaps
        Number of random permutations.

    Returns
    -------
    AUC of the first minus that of the second, and the two-sided p, at least 1 / (n_swaps + 1).
    """
    rng = np.random.default_rng(seed)
    both = np.stack([patients.probabilities, other])
    observed = _difference(patients, both[None])[0]
    n_as_large = 0
    for start in range(0, n_swaps, BLOCK):
        swapped = rng.random((min(BLOCK, n_swaps - start), len(patients))) < 0.5
        drawn = np.where(swapped[:, None, :, None], both[None, ::-1], both[None])
        as_large = np.abs(_difference(patients, drawn)) >= abs(observed) - SAME
        n_as_large += int(as_large.sum())
    return float(observed), (1 + n_as_large) / (1 + n_swaps)


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean over folds, its 95 % interval, and the two-sided p for a true mean of 0."""

    value: float
    low: float
    high: float
    p: float


def corrected_t(values: Floats, test_to_train: float) -> Mean:
    """Corrected resampled t-test for folds with overlapping patients (Nadeau & Bengio 2003).

    Folds of repeated partitions are not independent: they share training cases and test cases. The
    variance of the mean of k values is taken as (1 / k + n_test / n_train) times their sample
    variance, with k - 1 degrees of freedom (doi 10.1023/A:1024068626366; for repeated
    cross-validation doi 10.1007/978-3-540-24775-3_3). This is an approximation, because it accounts
    for the overlap by the sizes alone.

    Parameters
    ----------
    values
        One value per fold, at least two; for instance the difference between two systems.
    test_to_train
        Number of test cases of a fold divided by its number of training cases.

    Returns
    -------
    The mean, its interval, and the two-sided p. Values that are all equal, up to rounding, have an
    interval without width and no t: p is then that of the sign test, 1 if they are 0 and 2 / 2^k
    otherwise.

    Examples
    --------
    >>> found = corrected_t(np.array([0.02, 0.05, -0.01, 0.04]), 0.25)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3), round(found.p, 2)
    (0.025, -0.035, 0.085, 0.27)
    """
    mean, k = float(values.mean()), len(values)
    if np.ptp(values) < SAME:
        return Mean(mean, mean, mean, 2 / 2**k if abs(mean) >= SAME else 1.0)
    error = float(values.std(ddof=1) * np.sqrt(1 / k + test_to_train))
    half = float(student.ppf((1 + CONFIDENCE) / 2, k - 1)) * error
    return Mean(mean, mean - half, mean + half, float(2 * student.sf(abs(mean) / error, k - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979), in the order given.

    Returns
    -------
    One adjusted value for each, at most 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    left = np.arange(len(p_values), 0, -1)
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values, float)[order] * left)
    return [float(value) for value in adjusted.clip(max=1.0)]


def _difference(patients: Patients, both: Floats) -> Floats:
    """AUC of the first system minus that of the second; `both` is (draw, system, case, class)."""
    return swapped_auc(patients, both[:, 0]) - swapped_auc(patients, both[:, 1])
