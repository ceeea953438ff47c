"""What the files beside tables of predictions say of where they come from."""

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
    """Warn of tables that count as one system and say that they are of several.

    They are not refused: settings may be chosen for each fold anew, and the mean of two systems is
    a system, too. Tables that do not say what made them are left alone.

    Parameters
    ----------
    paths
        Tables of one system.
    seeds
        Whether they predict the same patients and are averaged; else they are folds.

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
            how = "are averaged as seeds" if seeds else "are taken for folds"
            yield (
                f"{shown(first)!r} and {shown(path)!r} {how} of one system, and are of two: "
                f"{changed}; to see them side by side, compare them (--compare)"
            )
        known.append((path, system))


def check_predicted_by(record: RunRecord, paths: Sequence[Path]) -> None:
    """Refuse tables that say that another run predicted them.

    Parameters
    ----------
    record
        The run.
    paths
        Tables; those that do not say what made them are left alone.

    Raises
    ------
    EvaluationError
        If a table is of another run.
    """
    own = sha256_file(record.weights)
    for path in paths:
        noted = note_of(path).get(MODEL)
        if noted is not None and noted != own:
            problem = (
                f"{str(sidecar(path))!r} says that another run than {str(record.path)!r} predicted "
                f"{str(path)!r}: {MODEL!r} is {noted!s:.12}..., the sha256 of the run's weights is "
                f"{own:.12}..."
            )
            hint = "give the run that made these predictions, or predict with this one"
            raise EvaluationError(problem, hint=hint)


def edited(paths: Sequence[Path]) -> Iterator[str]:
    """Warn of tables that are not as they were predicted: a label may have been added, or more."""
    for path in filter(was_edited, paths):
        yield f"{shown(path)!r} was changed after it was predicted"
