"""Report of an evaluation: tables in Markdown that also read well as plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gimp_plugin.evaluation.text import difference, interval, number, p_value, table

if TYPE_CHECKING:
    from gimp_plugin.evaluation.result import Estimate, Evaluation

CAUTION = (
    "The calibration error is above 0 by chance, too; its interval is reflected to allow for it."
)
CAUTION_OF_FOLDS = (
    "The calibration error is that of all predictions together; it is above 0 by chance, too."
)


def methods(found: Evaluation, *, tested: bool) -> str:
    """Describe how intervals, and p-values if there are any, were computed.

    Parameters
    ----------
    found
        The evaluation.
    tested
        Whether there are tests against others.

    Returns
    -------
    Sentences for the report.
    """
    holm = "Holm's adjustment counts all tests of the table"
    if found.test_to_train is not None:
        what = "intervals and p" if tested else "intervals"
        return (
            f"Repeated partitions: patients are in several of the {found.n_folds} folds, so each "
            f"value is the mean over the folds, with 95 % {what} of the corrected resampled t-test "
            f"(Nadeau & Bengio 2003; {found.n_folds - 1} degrees of freedom, "
            f"{found.test_to_train:.3g} test cases for each training case)."
            + (f" {holm}." if tested else "")
        )
    shares = "accuracy, coverage," if "coverage" in found.metrics else "accuracy,"
    strata = "fold and class" if found.n_folds > 1 else "class"
    intervals = (
        f"95 % intervals: Wilson for {shares} sensitivity and specificity; for the others "
        f"bootstrap over patients, stratified by {strata} "
        f"({found.draws:,} draws, seed {found.seed})."
    )
    tests = (
        " p: exact McNemar test for accuracy; for AUC permutation test that swaps the "
        f"probabilities of the two within patients; {holm}."
    )
    return intervals + (tests if tested else "")


def caution(found: Evaluation) -> str:
    """Caution that the calibration error is above 0 by chance."""
    return CAUTION if found.test_to_train is None else CAUTION_OF_FOLDS


def sections(found: Evaluation) -> Iterator[str]:
    """Give the parts of the report, the most requested first.

    Parameters
    ----------
    found
        The evaluation.

    Yields
    ------
    Lines, tables and paragraphs in Markdown.
    """
    yield _title(found)
    yield table(
        ["metric", "value", "95 % interval"],
        (
            [label, number(one.value), interval(one.low, one.high)]
            for label, one in labelled_metrics(found)
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
    yield _reliability_table(found)
    if found.by_seed:
        yield _seeds_line(found)
    if found.systems:
        yield _systems_table(found)
    if found.comparisons:
        yield _comparison_table(found)
    yield f"{methods(found, tested=bool(found.comparisons))} {caution(found)}"
    yield from (f"Warning: {warning}." for warning in found.warnings)


def _title(found: Evaluation) -> str:
    """Describe what was evaluated, with the number of cases."""
    classes = ", ".join(f"{one.n_cases} {name}" for name, one in found.by_class.items())
    line = f"{', '.join(found.predictions)}: {found.n_cases} {found.part} cases ({classes})"
    if found.fitted:
        line += ", FITTED ON THESE CASES: not a measure of how well others are predicted"
    if found.n_abstained:
        line += f"; {found.n_abstained} without an answer, which count as wrong"
    if found.n_unlabelled:
        line += f"; {found.n_unlabelled} more have no label"
    if found.n_folds > 1:
        line += f"; {folds(found)}"
    if found.n_seeds > 1:
        line += f"; probabilities of {found.n_seeds} seeds averaged"
    return line


def folds(found: Evaluation) -> str:
    """Describe the number of folds, and whether they share patients."""
    shared = "" if found.test_to_train is None else " of repeated partitions"
    return f"{found.n_folds} folds{shared}"


def counted(found: Evaluation) -> str:
    """Name what the bins of the reliability table count."""
    return "cases" if found.test_to_train is None else "predictions"


def labelled_metrics(found: Evaluation) -> Iterator[tuple[str, Estimate]]:
    """Metrics with the names that a reader knows."""
    classes = list(found.by_class)
    kind = f"{classes[1]} positive" if len(classes) == 2 else "one class against the others, mean"
    folds = ", mean of the folds" if found.n_folds > 1 else ""
    labels = {
        "accuracy": "accuracy",
        "coverage": "coverage",
        "accuracy_answered": "accuracy of the answered",
        "balanced_accuracy": "balanced accuracy",
        "auc": f"AUC ({kind}{folds})",
        "auc_pooled": f"AUC ({kind}, POOLED over the folds)",
        "macro_f1": "macro F1",
        "brier": "Brier score",
        "log_loss": "log loss",
        "calibration_error": "calibration error (ECE, 15 bins)",
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


def _reliability_table(found: Evaluation) -> str:
    """Accuracy of the most likely class, by confidence."""
    return table(
        ["confidence", counted(found), "mean confidence", "share right"],
        (
            [interval(one.low, one.high), str(one.n_cases), number(mean), number(right)]
            for one in found.reliability
            if (mean := one.confidence) is not None and (right := one.accuracy) is not None
        ),
    )


def _systems_table(found: Evaluation) -> str:
    """The evaluated system and the others side by side."""
    return table(
        ["system", "predicted from", "accuracy", "balanced accuracy", "AUC", "ECE"],
        (
            [
                one.name,
                ", ".join(f"{name} ({n_cases})" for name, n_cases in one.modalities.items()),
                *map(str, (one.accuracy, one.balanced_accuracy, one.auc, one.calibration_error)),
            ]
            for one in found.systems
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
                number(one.accuracy),
                difference(one.accuracy_difference, one.accuracy_difference_ends),
                *(p_value(one.accuracy_p), p_value(one.accuracy_p_holm)),
                number(one.auc),
                difference(one.auc_difference, one.auc_difference_ends),
                *(p_value(one.auc_p), p_value(one.auc_p_holm)),
            ]
            for one in found.comparisons
        ),
    )
