"""Splits by case into train, val and test: drawn, read from a table, or taken from a column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gimp_plugin.cohort.draws import draw_fifths
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.cohort.split_checks import (
    check_ancestry,
    check_disjoint,
    check_names,
    check_splits,
)
from gimp_plugin.cohort.tables import read_table
from gimp_plugin.errors import ConfigError, SplitError, did_you_mean, listed
from gimp_plugin.keys import CASE_ID, TEST, VAL
from gimp_plugin.storage.tables import write_csv

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Splits",
    "check_ancestry",
    "check_splits",
    "draw_splits",
    "read_splits",
    "same_case",
    "splits_from_column",
    "write_splits",
]

COLUMNS = (CASE_ID, "fold", "split")


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The part of each case.

    Parameters
    ----------
    parts
        `train`, `val` or `test` by case id.
    source
        Where they come from, for messages.
    fold
        Name of the fold.
    """

    parts: Mapping[str, str]
    source: str
    fold: str = "0"

    def of(self, part: str) -> tuple[str, ...]:
        """Give the cases of one part, in the order of the splits."""
        return tuple(case_id for case_id, found in self.parts.items() if found == part)

    def within(self, case_ids: Iterable[str]) -> Self:
        """Restrict to some cases, in their order; cases without a part are left out.

        A TCGA case takes the part of its patient when it is not named in full.

        Returns
        -------
        The smaller splits.
        """
        by_patient = {same_case(case_id): part for case_id, part in self.parts.items()}
        found = {
            case_id: self.parts.get(case_id, by_patient.get(same_case(case_id)))
            for case_id in case_ids
        }
        return replace(self, parts={case_id: part for case_id, part in found.items() if part})


def draw_splits(labels: Mapping[str, str], *, seed: int) -> Splits:
    """Draw 60 % train, 20 % val and 20 % test, by patient, stratified by class.

    Parameters
    ----------
    labels
        Class by case id.
    seed
        Of the draw; the order of the cases is of no account.

    Returns
    -------
    The splits, in the order of `labels`.

    Raises
    ------
    SplitError
        If a class has fewer than three patients.
    """
    parts = draw_fifths(labels, parts=(TEST, VAL), seed=seed)
    return Splits(parts=parts, source=f"splits drawn with seed {seed}")


def splits_from_column(
    obs: pd.DataFrame, column: str, fold: str | None, *, labels: Mapping[str, str], seed: int
) -> Splits:
    """Make one value of a column the test part, and draw a fifth of the rest as val.

    Parameters
    ----------
    obs
        Table of the cohort's cases.
    column
        Column with the folds.
    fold
        Value that is the test part.
    labels
        Class of each case that will be used.
    seed
        Of the draw of val.

    Returns
    -------
    The splits of the cases in `labels`, in their order.

    Raises
    ------
    SplitError
        If there is no such column or value, a case has no value, a patient has two, or a class is
        too small.
    ConfigError
        If `fold` is not given.
    """
    source = f"obs:{column}"
    if column not in obs.columns:
        known = [str(name) for name in obs.columns]
        problem = f"--splits {source}: obs has no column {column!r}{did_you_mean(column, known)}"
        raise SplitError(problem, hint=f"it has {listed(known, limit=9)}")
    cells = dict(zip(map(str, obs.index), obs[column].tolist(), strict=True))
    bare = [case_id for case_id in labels if is_missing(cells[case_id])]
    if bare:
        problem = f"--splits {source}: {len(bare)} cases have no value: {listed(bare)}"
        raise SplitError(problem, hint="fill the column, or leave these cases out")
    fold_of = {case_id: text_of(cells[case_id]) for case_id in labels}
    chosen = _chosen_fold(fold_of.values(), fold, source)
    check_disjoint(fold_of.items(), source)
    rest = {case_id: label for case_id, label in labels.items() if fold_of[case_id] != chosen}
    drawn = draw_fifths(rest, parts=(VAL,), seed=seed)
    parts = {case_id: drawn.get(case_id, TEST) for case_id in labels}
    return Splits(parts=parts, source=f"{source}, fold {chosen}", fold=chosen)


def read_splits(path: Path, *, fold: str | None = None) -> Splits:
    """Read one fold of a CSV `case_id,fold,split`; without the column fold it is fold 0.

    Parameters
    ----------
    path
        The table.
    fold
        Fold to take; may be left out when there is only one.

    Returns
    -------
    The splits, in the order of the table.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SplitError
        If a column or a value is missing, a name is unknown, or a patient is in two parts.
    ConfigError
        If there are several folds and none is chosen.
    """
    source = repr(str(path))
    rows = read_table(path, required=(CASE_ID, "split"), optional=("fold",), error=SplitError)
    folds = [row.get("fold", "0") for row in rows]
    chosen = _chosen_fold(folds, fold, source)
    pairs = [
        (row[CASE_ID], row["split"])
        for row, name in zip(rows, folds, strict=True)
        if name == chosen
    ]
    where = f"{source}, fold {chosen}"
    check_disjoint(pairs, where)
    check_names(dict(pairs), where)
    return Splits(parts=dict(pairs), source=where, fold=chosen)


def write_splits(path: Path, splits: Splits) -> None:
    """Write a table that `read_splits` reads, sorted by case."""
    rows = [
        {CASE_ID: case_id, "fold": splits.fold, "split": part}
        for case_id, part in sorted(splits.parts.items())
    ]
    write_csv(path, rows, columns=COLUMNS)


def _chosen_fold(folds: Iterable[str], fold: str | None, source: str) -> str:
    """Name of the fold to take."""
    names = sorted(set(folds))
    if fold is None and len(names) > 1:
        problem = f"--splits {source} has {len(names)} folds: {listed(names)}"
        raise ConfigError(problem, hint="choose one with --fold")
    chosen = names[0] if fold is None else str(fold)
    if chosen not in names:
        problem = f"--splits {source} has no fold {chosen!r}"
        raise SplitError(problem, hint=f"it has {listed(names)}")
    return chosen
