"""Section on the confusion matrix, with the cases behind each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.text import number
from gimp_plugin.studies.report.blocks import Fold, Link, Name, Table, lacking, said
from gimp_plugin.studies.report.gathering import Reported
from gimp_plugin.studies.report.names import short
from gimp_plugin.studies.report.performance import NO_PREDICTIONS, PREDICT, Block

NO_ANSWER = "no answer"


def confusion_of(one: Reported, *, prefix: str) -> tuple[Block, ...]:
    """Show the confusion matrix, and the cases behind each cell.

    Parameters
    ----------
    one
        The run.
    prefix
        Prefix of the anchors.

    Returns
    -------
    The blocks.
    """
    patients = one.patients
    if patients is None:
        return lacking(NO_PREDICTIONS, PREDICT)
    columns = [*range(len(patients.classes)), *([-1] if (patients.predicted < 0).any() else [])]
    rows: list[list[str | Link]] = []
    folds: list[Fold] = []
    for true, name in enumerate(patients.classes):
        cells: list[str | Link] = []
        for column in columns:
            members = np.flatnonzero((patients.labels == true) & (patients.predicted == column))
            anchor = f"{prefix}cell-{true}-{column % len(columns)}"
            cells.append(Link(str(members.size), anchor) if members.size else "0")
            if members.size:
                folds.append(_cell(patients, members, true, column, anchor))
        rows.append([Name(name), *cells])
    header = ["true class", *(f"called {short(_called(patients, column))}" for column in columns)]
    table = Table(caption="Cases by true and predicted class", header=header, rows=rows)
    return (table, said("Each number leads to its cases."), *folds)


def _called(patients: Patients, column: int) -> str:
    """Name of a predicted class."""
    return NO_ANSWER if column < 0 else patients.classes[column]


def _cell(
    patients: Patients, members: NDArray[np.int64], true: int, column: int, anchor: str
) -> Fold:
    """Cases of one cell, in order of falling confidence."""
    sure = patients.probabilities[members].max(axis=1)
    ordered = members[np.argsort(-sure, kind="stable")].tolist()
    names = [short(name) for name in patients.classes]
    table = Table(
        caption=f"{names[true]} called {short(_called(patients, column))}",
        header=["case", "predicted from", *(f"probability of {name}" for name in names)],
        rows=[
            [
                Name(patients.case_ids[row]),
                patients.modalities[row] or "unknown",
                *(number(value) for value in patients.probabilities[row].tolist()),
            ]
            for row in ordered
        ],
        n_texts=2,
    )
    verdict = "right" if true == column else ("no answer" if column < 0 else "wrong")
    summary = f"{names[true]} called {short(_called(patients, column))} ({verdict})"
    return Fold(f"{summary}: {len(ordered)}", (table,), anchor=anchor)
