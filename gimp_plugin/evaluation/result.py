"""Results of an evaluation, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gimp_plugin import keys
from gimp_plugin.evaluation.markdown import sections
from gimp_plugin.evaluation.text import SAME, interval, number, page

FITTED = (keys.TRAIN, keys.VAL)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def flat(self) -> bool:
        """Whether the interval has no width, up to rounding: all draws, or folds, agree."""
        return self.low is not None and self.high is not None and self.high - self.low < SAME

    def __str__(self) -> str:
        """Give the number and its interval in parentheses."""
        ends = interval(self.low, self.high)
        return f"{number(self.value)} ({ends})" if ends else number(self.value)


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class against the others, by the predicted class."""

    n_cases: int
    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True)
class ModalityScores:
    """Scores of cases predicted from the same halves; no AUC if a class is absent."""

    n_cases: int
    accuracy: Estimate
    auc: Estimate | None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Cases whose highest probability lies in (low, high].

    Parameters
    ----------
    low, high
        Edges of the bin.
    n_cases
        Number of cases in the bin.
    confidence, accuracy
        Mean of their highest probabilities, and share of the cases whose most likely class is the
        true one; None without cases.
    """

    low: float
    high: float
    n_cases: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemScores:
    """Scores of one of several systems on the same patients.

    Parameters
    ----------
    name
        Name of the system, or of its tables.
    modalities
        Number of cases by the halves that they were predicted from.
    accuracy, balanced_accuracy, auc, calibration_error
        As in `Evaluation.metrics`.
    """

    name: str
    modalities: Mapping[str, int]
    accuracy: Estimate
    balanced_accuracy: Estimate
    auc: Estimate
    calibration_error: Estimate


@dataclass(frozen=True, slots=True)
class Comparison:
    """The evaluated system compared with another one, on the same patients.

    For repeated partitions, all values are means over the folds.

    Parameters
    ----------
    other
        Name of the other system.
    accuracy, auc
        Values of the other system.
    accuracy_difference, auc_difference
        The evaluated system minus the other.
    accuracy_p, auc_p
        P-values of the test.
    accuracy_p_holm, auc_p_holm
        The same, adjusted for all tests of the table.
    test
        Name of the test: exact McNemar for the accuracy and a permutation test that swaps
        probabilities within patients for the AUC; or, for repeated partitions, the corrected
        resampled t-test.
    accuracy_difference_ends, auc_difference_ends
        95 % interval of the difference, from the corrected resampled t-test; otherwise None.
    """

    other: str
    accuracy: float
    auc: float
    accuracy_difference: float
    auc_difference: float
    accuracy_p: float
    auc_p: float
    accuracy_p_holm: float
    auc_p_holm: float
    test: str
    accuracy_difference_ends: tuple[float, float] | None = None
    auc_difference_ends: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well predictions agree with the labels.

    Parameters
    ----------
    predictions
        Names of the tables.
    part
        Part of the splits: `test`, `new`, or by request `train` or `val`.
    n_cases, n_unlabelled
        Number of patients evaluated, and of cases left out because they have no label.
    n_abstained
        Number of evaluated patients without a predicted class; they count as not right.
    n_folds, n_seeds
        Number of folds, and of seeds whose probabilities were averaged.
    test_to_train
        For repeated partitions, where patients are in several folds: number of test cases per
        training case of a fold. Every estimate is then a mean over the folds, with the interval of
        `statistics.corrected_t`; `calibration_error`, without an interval, and `reliability` are
        computed over all predictions together. Otherwise None.
    metrics
        Estimates by name. `auc` is computed per fold and averaged by size; several folds also have
        `auc_pooled`, except for repeated partitions. If some patients have no predicted class,
        `coverage` is the share of the others, and `accuracy_answered` the accuracy among them.
    by_class, by_modalities
        Scores by class name, and by the halves that predictions were made from.
    by_seed
        Accuracy and AUC of each seed alone; empty with one seed.
    reliability
        Points of the reliability curve, from the lowest confidence to the highest.
    systems, comparisons
        Scores of the evaluated system and the others, and tests against each; empty without
        others.
    warnings
        What the reader of the numbers should know.
    draws, seed
        Number of draws and seed of the bootstrap.
    """

    predictions: tuple[str, ...]
    part: str
    n_cases: int
    n_unlabelled: int
    n_abstained: int
    n_folds: int
    n_seeds: int
    test_to_train: float | None
    metrics: Mapping[str, Estimate]
    by_class: Mapping[str, ClassScores]
    by_modalities: Mapping[str, ModalityScores]
    by_seed: Mapping[str, tuple[float, ...]]
    reliability: tuple[ReliabilityBin, ...]
    systems: tuple[SystemScores, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    draws: int
    seed: int

    @property
    def fitted(self) -> bool:
        """Whether the model was fitted on these cases."""
        return self.part in FITTED

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain values, for JSON."""
        return {**asdict(self), "fitted_on_these_cases": self.fitted}

    def to_markdown(self) -> str:
        """Give tables in Markdown that also read well as plain text."""
        return page(sections(self))

    def __str__(self) -> str:
        """Give cases, accuracy and AUC in one line."""
        return f"{self.n_cases:4d}  {self.metrics['accuracy']!s:22s}  {self.metrics['auc']}"
