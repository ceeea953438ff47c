"""Origin of tables of predictions, as recorded in the files next to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gimp_plugin.errors import EvaluationError, listed
from gimp_plugin.evaluation.text import shown
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.storage.predictions import MODEL, SYSTEM, note_of, sidecar, was_edited
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.storage.systems import told_apart


def mixed_systems(paths: Sequence[Path], *, seeds: bool) -> Iterator[str]:
    """Warn of tables that are given as one system but record different ones.

    They are not refused: settings may be chosen separately for each fold, and the mean of two
    systems is also a system. Tables without a record are ignored.

    Parameters
    ----------
    paths
        Tables given as one system.
    seeds
        Whether they predict the same patients and are averaged; otherwise they are folds.

    Yields
    ------
    A sentence for each further system, without a full stop.
    """
    known: list[tuple[Path, Mapping[str, Any]]] = []
    for path in paths:
        system = note_of(path).get(SYSTEM)
        if not isinstance(system, Mapping):
            continue
        if any(not told_apart(one, system) for _, one in known):
            continue
        if known:
            first, one = known[0]
            changed = listed(told_apart(one, system))
            how = "are averaged as seeds" if seeds else "are taken as folds"
            yield (
                f"{shown(first)!r} and {shown(path)!r} {how} of one system, but come from two: "
                f"{changed}; to see them side by side, compare them (--compare)"
            )
        known.append((path, system))


def check_predicted_by(record: RunRecord, paths: Sequence[Path]) -> None:
    """Refuse tables that were predicted by another run according to their record.

    Parameters
    ----------
    record
        The run.
    paths
        Tables; those without a record are ignored.

    Raises
    ------
    EvaluationError
        If a table is from another run.
    """
    own = sha256_file(record.weights)
    for path in paths:
        noted = note_of(path).get(MODEL)
        if noted is not None and noted != own:
            problem = (
                f"{str(sidecar(path))!r} says that a run other than {str(record.path)!r} "
                f"predicted {str(path)!r}: {MODEL!r} is {noted!s:.12}..., the sha256 of the run's "
                f"weights is {own:.12}..."
            )
            hint = "give the run that made these predictions, or predict with this one"
            raise EvaluationError(problem, hint=hint)


def edited(paths: Sequence[Path]) -> Iterator[str]:
    """Warn of tables that were changed after they were predicted."""
    for path in filter(was_edited, paths):
        yield f"{shown(path)!r} was changed after it was predicted"
