"""Checks of the splits: leaks, duplicate samples in two parts, and unusable splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.splitting.checks import check_splits
from gimp_plugin.cohort.splitting.splits import (
    Splits,
    read_folds,
    read_splits,
    splits_from_column,
)
from gimp_plugin.errors import GimpError, SplitError, counted
from gimp_plugin.keys import PARTS

CHECK, TWINS = "splits", "one sample in two parts"
OF_COLUMN = "obs:"

WHY = "a case that was seen in training makes the results for new patients look too good"
REMEDY = "put all rows of a sample into one part, or leave out the doubtful ones"


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Rows of the cohort that are the same sample.

    Parameters
    ----------
    rows
        Groups of rows.
    by
        What shows that they are: `expression` or `slides`.
    """

    rows: Sequence[Sequence[int]]
    by: str


def check_all_splits(
    subject: Subject,
    given: str | None,
    *,
    fold: str | None,
    twins: Sequence[Twins],
    case_of: Callable[[], Mapping[str, str]],
) -> list[Finding]:
    """Check one fold of the splits, or all folds.

    Parameters
    ----------
    subject
        The cohort.
    given
        What the user gave as `--splits`: a table, or `obs:COLUMN`.
    fold
        Fold to check; None checks all.
    twins
        Rows that are the same sample.
    case_of
        Gives the case of each slide, because tables of other programs name slides.

    Returns
    -------
    The verdicts.
    """
    if given is None:
        return [skipped(CHECK, "no --splits was given"), skipped(TWINS, "no --splits was given")]
    try:
        slides = {} if given.startswith(OF_COLUMN) else case_of()
    except GimpError as error:
        return _unusable(error, why="a table of splits may name slides, whose cases are needed")
    try:
        if given.startswith(OF_COLUMN):
            splits = _of_column(subject, given.removeprefix(OF_COLUMN), fold)
        else:
            splits = _of_table(Path(given), fold, slides)
    except GimpError as error:
        return _unusable(error, why="training refuses these splits")
    return [_usable(subject, splits), _twins(subject, splits, twins)]


def _unusable(error: GimpError, *, why: str) -> list[Finding]:
    """Verdicts if the splits cannot be checked."""
    told = finding(CHECK, error.problem, why=why, remedy=error.hint or "correct this file")
    return [told, skipped(TWINS, "the splits cannot be used")]


def _of_column(subject: Subject, column: str, fold: str | None) -> list[Splits]:
    """Splits of one value of a column of `obs`, or of each."""
    known = [str(name) for name in subject.obs.columns]
    cells = subject.column(column).tolist() if column in known and fold is None else [fold]
    folds: list[str | None] = sorted({cell for cell in cells if cell is not None}) or [None]
    obs = subject.obs.set_axis(list(subject.case_ids), axis=0)
    labels = _labels(subject)
    return [splits_from_column(obs, column, name, labels=labels, seed=0) for name in folds]


def _of_table(path: Path, fold: str | None, case_of: Mapping[str, str]) -> list[Splits]:
    """Splits of one fold of a table, or of each."""
    splits = read_folds(path) if fold is None else [read_splits(path, fold=fold)]
    return [one.of_cases(case_of) for one in splits]


def _usable(subject: Subject, splits: Sequence[Splits]) -> Finding:
    """Report what training would refuse or warn of."""
    problems: list[str] = []
    labels = _labels(subject)
    for each in splits:
        try:
            problems += check_splits(each.within(labels) if labels else each, labels)
        except SplitError as error:
            problems.append(error.problem)
        absent = sorted(set(each.parts) - set(each.within(subject.case_ids).parts))
        strangers = [name for name in absent if name not in set(subject.case_ids)]
        if strangers and len(strangers) == len(each.parts):
            problems.append(f"{each.source}: none of its cases is in the cohort")
    problems = list(dict.fromkeys(problems))
    sizes = ", ".join(f"{part} {len(splits[0].of(part)):,}" for part in PARTS)
    found = f"{counted(len(splits), 'fold')}; {sizes}" + (" in the first" if splits[1:] else "")
    if not problems:
        return ok(CHECK, found, n_folds=len(splits))
    return finding(
        CHECK,
        "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if problems[5:] else ""),
        why="splits that lack a part or a class, or overlap, give results that mean little",
        remedy="draw the splits again, stratified by class and by patient",
        problems=problems[:100],
        n_folds=len(splits),
    )


def _twins(subject: Subject, splits: Sequence[Splits], twins: Sequence[Twins]) -> Finding:
    """Look for samples that are in two parts under two names."""
    found: list[str] = []
    pairs: dict[str, list[list[str]]] = {}
    for each in splits:
        parts = _parts_by_row(subject, each)
        for kind in twins:
            for rows in kind.rows:
                inside = {row: parts[row] for row in rows if row in parts}
                if len(set(inside.values())) < 2:
                    continue
                names = [f"{subject.case_ids[row]} ({part})" for row, part in inside.items()]
                found.append(f"{' = '.join(names[:3])} in fold {each.fold} by {kind.by}")
                pairs.setdefault(each.fold, []).append(names)
    if not found:
        return ok(TWINS, f"none in {counted(len(splits), 'fold')}")
    return finding(
        TWINS,
        f"{counted(len(found), 'time')}: {named(found)}",
        why=WHY,
        remedy=REMEDY,
        folds={fold: groups[:100] for fold, groups in pairs.items()},
    )


def _parts_by_row(subject: Subject, splits: Splits) -> dict[int, str]:
    """Part of each row of the cohort that has one."""
    parts: Mapping[str, str] = splits.within(subject.case_ids).parts
    return {row: parts[name] for row, name in enumerate(subject.case_ids) if name in parts}


def _labels(subject: Subject) -> dict[str, str]:
    """Class of each case that has one."""
    if subject.labels is None:
        return {}
    pairs = zip(subject.case_ids, subject.labels, strict=True)
    return {case_id: label for case_id, label in pairs if label is not None}
