"""The table of predictions: one row per case, one probability per class."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import EvaluationError, MissingFileError, did_you_mean, listed
from gimp_plugin.storage.atomic import json_text, sha256_file, whole_file
from gimp_plugin.storage.tables import csv_text, read_csv

SPLIT = "split"
PREDICTED = "predicted"
PROBABILITY = "prob_"
MODALITIES = "modalities"
N_SLIDES, N_PATCHES, GENE_COVERAGE = "n_slides", "n_patches", "gene_coverage"
FOLD = "fold"
MODEL, SYSTEM, TABLE_SHA256 = "model", "system", "table_sha256"
"""Keys of the file beside a table: hash of the weights, `system_of` the run, hash of the table."""
SPLITS = (*keys.PARTS, keys.NEW)
SUM_TOLERANCE = 2e-3
"""Allows for probabilities that were rounded to three decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A table of predictions that has been read and checked.

    Parameters
    ----------
    path
        The table.
    classes
        Class names, in the order of the columns; of two, the second is the positive class.
    case_ids
        Case of each row, each once.
    splits
        `train`, `val`, `test` or `new` of each row.
    predicted
        Class of each row, as an index; -1 for a case without an answer.
    probabilities
        Shape (case, class).
    modalities
        Halves that each row was predicted from.
    labels
        True class of each row, as an index; -1 if unknown.
    folds
        Content of the optional column `fold`, which a table of several folds has; else empty.
    """

    path: Path
    classes: tuple[str, ...]
    case_ids: tuple[str, ...]
    splits: tuple[str, ...]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    modalities: tuple[str, ...]
    labels: NDArray[np.int64]
    folds: tuple[str, ...]


def columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns, in order.

    Returns
    -------
    One name for each cell of a row.

    Examples
    --------
    >>> columns(["LUAD", "LUSC"])[:5]
    ('case_id', 'split', 'predicted', 'prob_LUAD', 'prob_LUSC')
    """
    probabilities = (f"{PROBABILITY}{name}" for name in classes)
    last = (MODALITIES, N_SLIDES, N_PATCHES, GENE_COVERAGE, keys.LABEL)
    return (keys.CASE_ID, SPLIT, PREDICTED, *probabilities, *last)


def write_predictions(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    *,
    classes: Sequence[str],
    noted: Mapping[str, Any] | None = None,
) -> None:
    """Write a table atomically; None is an empty cell, and a formula gets a leading '.

    Parameters
    ----------
    path
        The table.
    rows
        One mapping per case, with a value for each of `columns`.
    classes
        Class names, in the order of the run.
    noted
        How the table was made, for the file beside it, to which the table's hash is added. Both
        are written before either is renamed. None writes no such file.
    """
    table = csv_text(rows, columns=columns(classes)).encode()
    # The file opened last is renamed first, so a new table never has an old note beside it.
    with ExitStack() as stack:
        new = stack.enter_context(whole_file(path))
        if noted is not None:
            note = stack.enter_context(whole_file(sidecar(path)))
            whole = {**noted, TABLE_SHA256: hashlib.sha256(table).hexdigest()}
            note.write_bytes(json_text(whole).encode())
        new.write_bytes(table)


def sidecar(path: Path) -> Path:
    """Return the path of the file that says what a table of predictions was made from."""
    return path.with_name(f"{path.name}.json")


def note_of(path: Path) -> dict[str, Any]:
    """Read what a table was made from, in the file beside it; empty if there is none."""
    if not sidecar(path).is_file():
        return {}
    try:
        found = json.loads(sidecar(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def was_edited(path: Path) -> bool:
    """Whether a table differs from the hash noted in the file beside it."""
    note = note_of(path)
    return TABLE_SHA256 in note and note[TABLE_SHA256] != sha256_file(path)


def read_predictions(path: Path) -> Predictions:
    """Read a table, and check all that metrics rely on.

    Required are `case_id`, `split`, `predicted` and at least two `prob_<class>`; `modalities`,
    `label` and `fold` are read if they exist, other columns are ignored. A case id is text,
    whatever it looks like. An empty cell of `predicted` is a case without an answer.

    Parameters
    ----------
    path
        The table.

    Returns
    -------
    At least one prediction.

    Raises
    ------
    MissingFileError
        If there is no such file.
    EvaluationError
        If it is not such a table, or a cell is invalid (the message names the row and column).
    """
    rows = _rows(path)
    classes = _classes(path, rows[0])
    for number, row in enumerate(rows, start=2):
        _check_row(_At(path, number), row, classes)
    case_ids = tuple(row[keys.CASE_ID] for row in rows)
    _check_unique(path, case_ids)
    index = {name: number for number, name in enumerate(classes)} | {"": -1}
    return Predictions(
        path=path,
        classes=classes,
        case_ids=case_ids,
        splits=tuple(row[SPLIT] for row in rows),
        predicted=np.array([index[row[PREDICTED]] for row in rows]),
        probabilities=np.array(
            [[float(row[f"{PROBABILITY}{name}"]) for name in classes] for row in rows]
        ),
        modalities=tuple(row.get(MODALITIES, "") for row in rows),
        labels=np.array([index[row.get(keys.LABEL, "")] for row in rows]),
        folds=tuple(row.get(FOLD, "") for row in rows),
    )


@dataclass(frozen=True, slots=True)
class _At:
    """A row of a file, for error messages."""

    path: Path
    number: int

    def error(self, column: str, value: str, expected: str) -> EvaluationError:
        """Make the error about one cell."""
        where = f"{str(self.path)!r}, row {self.number}, column {column!r}"
        return EvaluationError(f"{where}: {value!r}, expected {expected}")


def _rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of the table, without space around the cells."""
    hint = "give a table that gimp predict wrote"
    try:
        rows = read_csv(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"no predictions {str(path)!r}", hint=hint) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{str(path)!r} cannot be read: {error}", hint=hint) from error
    if not rows:
        raise EvaluationError(f"{str(path)!r} has no row", hint=hint)
    return [{name: cell.strip() for name, cell in row.items()} for row in rows]


def _classes(path: Path, row: Mapping[str, str]) -> tuple[str, ...]:
    """Class names from the columns; refuse a table that lacks required columns."""
    for name in (keys.CASE_ID, SPLIT, PREDICTED):
        if name not in row:
            problem = f"{str(path)!r} has no column {name!r}{did_you_mean(name, row)}"
            raise EvaluationError(problem, hint=f"it has {listed(row)}")
    classes = tuple(name.removeprefix(PROBABILITY) for name in row if name.startswith(PROBABILITY))
    if len(classes) < 2:
        found = f"it names {listed(classes)}" if classes else "it has none"
        problem = (
            f"{str(path)!r} needs a column 'prob_<class>' for each of two or more classes, {found}"
        )
        raise EvaluationError(problem, hint=f"it has {listed(row)}")
    return classes


def _check_row(at: _At, row: Mapping[str, str], classes: Sequence[str]) -> None:
    """Refuse a row with an invalid cell."""
    if not row[keys.CASE_ID]:
        raise at.error(keys.CASE_ID, "", "the name of a case")
    if row[SPLIT] not in SPLITS:
        raise at.error(SPLIT, row[SPLIT], f"one of {', '.join(SPLITS)}")
    if row[PREDICTED] and row[PREDICTED] not in classes:
        near = did_you_mean(row[PREDICTED], classes)
        expected = f"one of {listed(classes, limit=9)} or nothing{near}"
        raise at.error(PREDICTED, row[PREDICTED], expected)
    if row.get(keys.LABEL) and row[keys.LABEL] not in classes:
        raise at.error(keys.LABEL, row[keys.LABEL], f"one of {listed(classes, limit=9)} or nothing")
    if row.get(MODALITIES) and row[MODALITIES] not in keys.MODALITIES:
        raise at.error(MODALITIES, row[MODALITIES], f"one of {', '.join(keys.MODALITIES)}")
    values = {f"{PROBABILITY}{name}": row[f"{PROBABILITY}{name}"] for name in classes}
    for column, value in values.items():
        if not _is_probability(value):
            raise at.error(column, value, "a probability from 0 to 1")
    total = sum(map(float, values.values()))
    if not math.isclose(total, 1.0, abs_tol=SUM_TOLERANCE):
        raise at.error(f"{PROBABILITY}*", f"{total:g}", "probabilities that sum to 1")


def _check_unique(path: Path, case_ids: Sequence[str]) -> None:
    """Refuse a case with two rows."""
    first: dict[str, int] = {}
    for number, case_id in enumerate(case_ids, start=2):
        if case_id in first:
            expected = f"each case once (it is also in row {first[case_id]})"
            raise _At(path, number).error(keys.CASE_ID, case_id, expected)
        first[case_id] = number


def _is_probability(text: str) -> bool:
    """Whether a cell is a number from 0 to 1."""
    try:
        return 0.0 <= float(text) <= 1.0
    except ValueError:
        return False
