"""Sections on how good predictions are: metrics, curves, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gimp_plugin.evaluation import Evaluation, statistics
from gimp_plugin.evaluation.curves import Curve, precision_recall, roc
from gimp_plugin.evaluation.markdown import caution, folds, labelled_metrics, methods
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.text import difference, number, p_value
from gimp_plugin.studies.report.blocks import (
    Beside,
    Fold,
    Name,
    Plot,
    Table,
    Text,
    lacking,
    said,
)
from gimp_plugin.studies.report.charts import Chart, Series
from gimp_plugin.studies.report.gathering import Reported
from gimp_plugin.studies.report.names import short

UNIT = (0.0, 0.25, 0.5, 0.75, 1.0)
DIAGONAL = ((0.0, 0.0), (1.0, 1.0))
NO_PREDICTIONS = "no predictions"
PREDICT = (
    "gimp predict --model RUN --adata FILE writes them, and --predictions FILE shows them here"
)
Block = Text | Table | Plot | Beside | Fold


def to(low: float | None, high: float | None) -> str:
    """Format both ends of an interval, which may be below 0."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def metrics_of(one: Reported) -> tuple[Block, ...]:
    """Headline metrics on test or new cases, with intervals."""
    found = one.evaluation
    return lacking(NO_PREDICTIONS, PREDICT) if found is None else tuple(evaluated(found))


def evaluated(found: Evaluation) -> Iterator[Block]:
    """Show the tables of an evaluation.

    Parameters
    ----------
    found
        The evaluation.

    Yields
    ------
    The blocks.
    """
    yield said(_title(found))
    metrics = Table(
        caption=f"Metrics on {found.n_cases} {found.part} cases",
        header=["metric", "value", "95 % interval"],
        rows=[
            [label, number(one.value), to(one.low, one.high)]
            for label, one in labelled_metrics(found)
        ],
    )
    classes = Table(
        caption="By class: one against the others",
        header=["class", "cases", "sensitivity", "specificity"],
        rows=[
            [Name(name), str(one.n_cases), str(one.sensitivity), str(one.specificity)]
            for name, one in found.by_class.items()
        ],
    )
    yield Beside((metrics, classes))
    if len(found.by_modalities) > 1:
        yield Table(
            caption="By the halves that cases were predicted from",
            header=["predicted from", "cases", "accuracy", "AUC"],
            rows=[
                [name, str(one.n_cases), str(one.accuracy), str(one.auc or "a class is absent")]
                for name, one in found.by_modalities.items()
            ],
        )
    if found.comparisons:
        yield from _compared(found)
    how = f"{methods(found, tested=bool(found.comparisons))} {caution(found)}"
    yield Fold("How these were computed", (said(how),))


def curves_of(one: Reported, *, seed: int) -> tuple[Block, ...]:
    """ROC and precision-recall curves, a pair for each ranked class."""
    patients = one.patients
    if patients is None:
        return lacking(NO_PREDICTIONS, PREDICT)
    n_classes = len(patients.classes)
    places = range(1, 2) if n_classes == 2 else range(n_classes)
    plots = [plot for place in places for plot in _pair(patients, place, seed=seed)]
    note = (
        "Bands: 95 % at each point separately, by drawing patients with replacement within the "
        "classes (500 draws). Dashed: chance level."
    )
    folds = " The folds are pooled here; the AUCs above are averages over folds."
    many = len(patients.fold_names) > 1
    return (Beside(tuple(plots)), said(note + (folds if many else "")))


def calibration_of(one: Reported) -> tuple[Block, ...]:
    """Reliability: accuracy of the most likely class, by confidence."""
    found = one.evaluation
    if found is None:
        return lacking(NO_PREDICTIONS, PREDICT)
    points = []
    for each in found.reliability:
        if each.confidence is not None and each.accuracy is not None:
            hits = round(each.accuracy * each.n_cases)
            points.append((each, each.confidence, each.accuracy, hits))
    bars = [(sure, *statistics.wilson(hits, each.n_cases)) for each, sure, _, hits in points]
    error = found.metrics["calibration_error"]
    chart = Chart(
        title="Reliability of the most likely class",
        alt=f"Share right by mean confidence, {len(points)} bins; the table has the numbers",
        x_label="mean confidence",
        y_label="share right",
        x_ticks=UNIT,
        y_ticks=UNIT,
        series=[
            Series(
                label="bins of 1/15 with 95 % intervals (Wilson)",
                points=[(sure, right) for _, sure, right, _ in points],
                bars=bars,
                marked=True,
                joined=False,
            )
        ],
        guides=[DIAGONAL],
    )
    table = Table(
        caption="Reliability by bins of confidence",
        header=["confidence", "cases", "mean confidence", "share right", "95 % interval"],
        rows=[
            [to(each.low, each.high), str(each.n_cases), number(sure), number(right), to(low, high)]
            for (each, sure, right, _), (_, low, high) in zip(points, bars, strict=True)
        ],
    )
    line = f"Calibration error (ECE, 15 bins): {number(error.value)} ({to(error.low, error.high)})."
    temperature = f"Temperature of the probabilities: {one.record.temperature:.4g}."
    return (said(f"{line} {temperature} {caution(found)}"), Beside((Plot(chart), table)))


def _title(found: Evaluation) -> str:
    """Describe what was evaluated, with the number of cases."""
    tables = ", ".join(Path(name).name for name in found.predictions)
    line = f"{tables}: {found.n_cases} {found.part} cases"
    if found.n_abstained:
        line += f"; {found.n_abstained} without an answer, which count as wrong"
    if found.n_unlabelled:
        line += f"; {found.n_unlabelled} more have no label"
    if found.n_folds > 1:
        line += f"; {folds(found)}, side by side"
    if found.n_seeds > 1:
        line += f"; probabilities of {found.n_seeds} seeds averaged"
    return f"{line}."


def _compared(found: Evaluation) -> Iterator[Table]:
    """Scores of this and the other systems, and tests against each."""
    own, *others = found.systems
    systems = [(Path(own.name).name, own), *((one.name, one) for one in others)]
    yield Table(
        caption="Systems on the same cases",
        header=["system", "predicted from", "accuracy", "balanced accuracy", "AUC", "ECE"],
        rows=[
            [
                Name(name),
                ", ".join(f"{half} ({n_cases})" for half, n_cases in one.modalities.items()),
                *map(str, (one.accuracy, one.balanced_accuracy, one.auc, one.calibration_error)),
            ]
            for name, one in systems
        ],
        n_texts=2,
    )
    yield Table(
        caption="Differences: the evaluated system less the other",
        header=["compared with", "accuracy", "p", "p (Holm)", "AUC", "p", "p (Holm)"],
        rows=[
            [
                Name(one.other),
                difference(one.accuracy_difference, one.accuracy_difference_ends),
                *(p_value(one.accuracy_p), p_value(one.accuracy_p_holm)),
                difference(one.auc_difference, one.auc_difference_ends),
                *(p_value(one.auc_p), p_value(one.auc_p_holm)),
            ]
            for one in found.comparisons
        ],
    )


def _pair(patients: Patients, place: int, *, seed: int) -> tuple[Plot, Plot]:
    """ROC and precision-recall curve of one class."""
    name, share = short(patients.classes[place]), float((patients.labels == place).mean())
    found = roc(patients, place, seed=seed)
    first = Chart(
        title=f"ROC of {name}: AUC {found.area}",
        alt=f"Sensitivity by 1 - specificity; area under the curve {found.area}",
        x_label="1 - specificity",
        y_label="sensitivity",
        x_ticks=UNIT,
        y_ticks=UNIT,
        series=[_series(found, name, _as_line(found))],
        guides=[DIAGONAL],
    )
    found = precision_recall(patients, place, seed=seed)
    second = Chart(
        title=f"Precision and recall of {name}: average precision {found.area}",
        alt=f"Precision by recall; average precision {found.area}, by chance {number(share)}",
        x_label="recall (sensitivity)",
        y_label="precision",
        x_ticks=UNIT,
        y_ticks=UNIT,
        series=[_series(found, name, _as_steps(found))],
        guides=[((0.0, share), (1.0, share))],
    )
    return Plot(first), Plot(second)


def _series(found: Curve, name: str, points: Sequence[tuple[float, float]]) -> Series:
    """Line of a curve, with its band."""
    band = list(zip(found.grid.tolist(), found.low.tolist(), found.high.tolist(), strict=True))
    return Series(label=f"{name}, with 95 % band", points=points, band=band)


def _as_line(found: Curve) -> list[tuple[float, float]]:
    """Points of a curve that are joined by straight lines."""
    return list(zip(found.x.tolist(), found.y.tolist(), strict=True))


def _as_steps(found: Curve) -> list[tuple[float, float]]:
    """Corners of a step function; each step has the height of its right end."""
    left = [0.0, *found.x.tolist()[:-1]]
    pairs = zip(left, found.x.tolist(), found.y.tolist(), strict=True)
    return [corner for start, end, y in pairs for corner in ((start, y), (end, y))]
