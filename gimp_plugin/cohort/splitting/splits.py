"""Splits by case into train, val and test: drawn, read from a table, or taken from a column."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.cohort.splitting.checks import (
    check_ancestry,
    check_disjoint,
    check_names,
    check_splits,
)
from gimp_plugin.cohort.splitting.draws import draw_fifths
from gimp_plugin.cohort.splitting.formats import COLUMNS, read_pairs
from gimp_plugin.errors import ConfigError, SplitError, counted, did_you_mean, listed
from gimp_plugin.keys import CASE_ID, TEST, VAL
from gimp_plugin.storage.atomic import write_text
from gimp_plugin.storage.tables import csv_text

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

__all__ = [
    "Splits",
    "check_ancestry",
    "check_splits",
    "draw_splits",
    "read_folds",
    "read_splits",
    "same_case",
    "splits_from_column",
    "splits_text",
    "write_splits",
]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The part of each case.

    Parameters
    ----------
    parts
        `train`, `val` or `test` by case id.
    source
        Where the splits come from, for messages.
    fold
        Name of the fold.
    """

    parts: Mapping[str, str]
    source: str
    fold: str = "0"

    def of(self, part: str) -> tuple[str, ...]:
        """Return the cases of one part, in the order of the splits."""
        return tuple(case_id for case_id, found in self.parts.items() if found == part)

    def within(self, case_ids: Iterable[str]) -> Self:
        """Restrict to the given cases, in their order; cases without a part are left out.

        A TCGA case that the splits do not name exactly takes the part of its patient.

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

    def known_to(self, case_ids: Iterable[str]) -> Self:
        """Restrict to cases as `within` does, and report names that match none of them.

        Parameters
        ----------
        case_ids
            The cases.

        Returns
        -------
        The smaller splits, in the order of the cases.

        Raises
        ------
        SplitError
            If no name matches any of them.
        """
        wanted = list(case_ids)
        patients = {same_case(case_id) for case_id in wanted}
        lost = [name for name in self.parts if same_case(name) not in patients]
        if len(lost) == len(self.parts):
            problem = (
                f"{self.source}: none of its names is a case of the cohort: {listed(lost, limit=3)}"
            )
            problem += f", the cohort has {listed(wanted, limit=3)}"
            raise SplitError(problem, hint="if the names are those of slides, give --slide-table")
        if lost:
            text = "%s: %d of %d names are not cases of the cohort and are left out: %s"
            logger.warning(text, self.source, len(lost), len(self.parts), listed(lost))
        return self.within(wanted)

    def of_cases(self, case_of: Mapping[str, str]) -> Self:
        """Replace slides by their cases; other names are kept.

        Parameters
        ----------
        case_of
            Case by slide.

        Returns
        -------
        The splits by case.

        Raises
        ------
        SplitError
            If slides of one patient are in two parts.
        """
        pairs = [(case_of.get(name, name), part) for name, part in self.parts.items()]
        check_disjoint(pairs, self.source)
        return replace(self, parts=dict(pairs))


def draw_splits(labels: Mapping[str, str], *, seed: int) -> Splits:
    """Draw 60 % train, 20 % val and 20 % test, by patient, stratified by class.

    Parameters
    ----------
    labels
        Class by case id.
    seed
        Seed of the draw; the order of the cases does not matter.

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
        Value whose cases are the test part.
    labels
        Class of each case that will be used.
    seed
        Seed of the draw of val.

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
        told = counted(len(bare), "case has", "cases have")
        problem = f"--splits {source}: {told} no value: {listed(bare)}"
        raise SplitError(problem, hint="fill the column, or leave these cases out")
    fold_of = {case_id: text_of(cells[case_id]) for case_id in labels}
    chosen = _chosen_fold(fold_of.values(), fold, source)
    check_disjoint(fold_of.items(), source)
    rest = {case_id: label for case_id, label in labels.items() if fold_of[case_id] != chosen}
    drawn = draw_fifths(rest, parts=(VAL,), seed=seed)
    parts = {case_id: drawn.get(case_id, TEST) for case_id in labels}
    return Splits(parts=parts, source=f"{source}, fold {chosen}", fold=chosen)


def read_splits(path: Path, *, fold: str | None = None) -> Splits:
    """Read one fold of a table of splits: ours, or one of `splitting.formats`.

    Parameters
    ----------
    path
        The table, or a folder of tables.
    fold
        Fold to read; may be omitted if there is only one.

    Returns
    -------
    The splits, in the order of the table. Names may be those of slides; see `Splits.of_cases`.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SplitError
        If a column or a value is missing, a part is unknown, or a patient is in two parts.
    ConfigError
        If there are several folds and none is chosen.
    """
    folds = read_pairs(path)
    chosen = _chosen_fold(folds, fold, repr(str(path)))
    return _checked(folds[chosen], path, chosen)


def read_folds(path: Path) -> tuple[Splits, ...]:
    """Read every fold of a table of splits, as `read_splits` reads one.

    Parameters
    ----------
    path
        The table, or a folder of tables.

    Returns
    -------
    The folds, in the order of the table.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SplitError
        If a column or a value is missing, a name is unknown, or a patient is in two parts.
    """
    return tuple(_checked(pairs, path, fold) for fold, pairs in read_pairs(path).items())


def splits_text(folds: Iterable[Splits]) -> str:
    """Make the text of a table for `read_splits`, sorted by case within each fold."""
    return csv_text(
        (
            {CASE_ID: case_id, "fold": splits.fold, "split": part}
            for splits in folds
            for case_id, part in sorted(splits.parts.items())
        ),
        columns=COLUMNS,
    )


def write_splits(path: Path, splits: Splits) -> None:
    """Write a table for `read_splits`, sorted by case."""
    write_text(path, splits_text([splits]))


def _checked(pairs: Sequence[tuple[str, str]], path: Path, fold: str) -> Splits:
    """Splits of one fold of a table, checked."""
    where = f"{str(path)!r}, fold {fold}"
    check_disjoint(pairs, where)
    check_names(dict(pairs), where)
    return Splits(parts=dict(pairs), source=where, fold=fold)


def _chosen_fold(folds: Iterable[str], fold: str | None, source: str) -> str:
    """Name of the fold to read."""
    names = sorted(set(folds))
    if fold is None and len(names) > 1:
        problem = f"--splits {source} has {len(names)} folds: {listed(names)}"
        raise ConfigError(problem, hint="choose one with --fold")
    chosen = names[0] if fold is None else str(fold)
    if chosen not in names:
        problem = f"--splits {source} has no fold {chosen!r}"
        raise SplitError(problem, hint=f"it has {listed(names)}")
    return chosen
