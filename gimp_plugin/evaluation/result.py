"""What an evaluation says, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gimp_plugin import keys
from gimp_plugin.evaluation.text import interval, number, p_value, table

FITTED = (keys.TRAIN, keys.VAL)
METHODS = (
    "95 % intervals: Wilson for accuracy, sensitivity and specificity; for the others bootstrap "
    "over patients, stratified by class"
)

TESTS = (
    "p: exact McNemar test for accuracy; for AUC permutation test that swaps the probabilities of "
    "the two within patients; Holm's adjustment counts all tests of the table"
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """Give the number and its interval in parentheses."""
        ends = interval(self.low, self.high)
        return f"{number(self.value)} ({ends})" if ends else number(self.value)


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class against the others, by the predicted class."""

    n_cases: int
    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True)
class ModalityScores:
    """Cases that were predicted from the same halves; no AUC where a class is absent."""

    n_cases: int
    accuracy: Estimate
    auc: Estimate | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The evaluated system beside another one, on the same patients.

    Parameters
    ----------
    other
        The other system.
    accuracy, auc
        What the other system reaches.
    accuracy_difference, auc_difference
        The evaluated system less the other.
    accuracy_p, auc_p
        Exact McNemar test, and permutation test that swaps probabilities within patients.
    accuracy_p_holm, auc_p_holm
        The same, adjusted for all tests of the table.
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
        Patients that were evaluated, and cases left out because they have no label.
    n_folds, n_seeds
        Folds laid side by side, and seeds whose probabilities were averaged.
    metrics
        Estimates by name. `auc` is computed per fold and averaged by size; with several folds
        `auc_pooled` stands beside it.
    by_class, by_modalities
        Scores by class name, and by the halves that predictions were made from.
    by_seed
        Accuracy and AUC of each seed alone; empty with one seed.
    comparisons
        Tests against other systems.
    warnings
        What the reader of a number should know.
    draws, seed
        Of the bootstrap.
    """

    predictions: tuple[str, ...]
    part: str
    n_cases: int
    n_unlabelled: int
    n_folds: int
    n_seeds: int
    metrics: Mapping[str, Estimate]
    by_class: Mapping[str, ClassScores]
    by_modalities: Mapping[str, ModalityScores]
    by_seed: Mapping[str, tuple[float, ...]]
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
        return "\n\n".join(_sections(self)) + "\n"

    def __str__(self) -> str:
        """Give cases, accuracy and AUC in one line."""
        return f"{self.n_cases:4d}  {self.metrics['accuracy']!s:22s}  {self.metrics['auc']}"


def _sections(found: Evaluation) -> Iterator[str]:
    """Parts of the report, from the most to the least asked for."""
    yield _title(found)
    yield table(
        ["metric", "value", "95 % interval"],
        (
            [label, number(one.value), interval(one.low, one.high)]
            for label, one in _labelled_metrics(found)
        ),
    )
    yield table(
        ["class", "cases", "sensitivity", "specificity"],
        (
            [name, str(one.n_cases), str(one.sensitivity), str(one.specificity)]
            for name, one in found.by_class.items()
        ),
    )
    if len(found.by_modalities) > 1:
        yield _modalities_table(found)
    if found.by_seed:
        yield _seeds_line(found)
    if found.comparisons:
        yield _comparison_table(found)
    tests = f" {TESTS}." if found.comparisons else ""
    yield f"{METHODS} ({found.draws:,} draws, seed {found.seed}).{tests}"
    yield from (f"Warning: {warning}." for warning in found.warnings)


def _title(found: Evaluation) -> str:
    """What was evaluated, and how many."""
    classes = ", ".join(f"{one.n_cases} {name}" for name, one in found.by_class.items())
    line = f"{', '.join(found.predictions)}: {found.n_cases} {found.part} cases ({classes})"
    if found.fitted:
        line += ", FITTED ON THESE CASES: no measure of how well others are predicted"
    if found.n_unlabelled:
        line += f"; {found.n_unlabelled} more have no label"
    if found.n_folds > 1:
        line += f"; {found.n_folds} folds"
    if found.n_seeds > 1:
        line += f"; probabilities of {found.n_seeds} seeds averaged"
    return line


def _labelled_metrics(found: Evaluation) -> Iterator[tuple[str, Estimate]]:
    """Metrics under the names that a reader knows."""
    classes = list(found.by_class)
    kind = f"{classes[1]} positive" if len(classes) == 2 else "one class against the others, mean"
    folds = ", mean of the folds" if found.n_folds > 1 else ""
    labels = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "auc": f"AUC ({kind}{folds})",
        "auc_pooled": f"AUC ({kind}, POOLED over the folds)",
        "macro_f1": "macro F1",
        "brier": "Brier score",
        "log_loss": "log loss",
        "calibration_error": "calibration error (ECE, 10 bins)",
    }
    return ((label, found.metrics[key]) for key, label in labels.items() if key in found.metrics)


def _modalities_table(found: Evaluation) -> str:
    """Scores by the halves that predictions were made from."""
    return table(
        ["predicted from", "cases", "accuracy", "AUC"],
        (
            [name, str(one.n_cases), str(one.accuracy), str(one.auc or "a class is absent")]
            for name, one in found.by_modalities.items()
        ),
    )


def _seeds_line(found: Evaluation) -> str:
    """Spread over the seeds."""
    spread = (
        f"{name} {interval(min(values), max(values))}" for name, values in found.by_seed.items()
    )
    return f"Each of the {found.n_seeds} seeds alone: {', '.join(spread)} (lowest-highest)."


def _comparison_table(found: Evaluation) -> str:
    """Differences to other systems."""
    header = ["compared with", "accuracy", "difference", "p", "p (Holm)"]
    return table(
        [*header, "AUC", "difference", "p", "p (Holm)"],
        (
            [
                one.other,
                *(number(one.accuracy), f"{one.accuracy_difference:+.3f}"),
                *(p_value(one.accuracy_p), p_value(one.accuracy_p_holm)),
                *(number(one.auc), f"{one.auc_difference:+.3f}"),
                *(p_value(one.auc_p), p_value(one.auc_p_holm)),
            ]
            for one in found.comparisons
        ),
    )
