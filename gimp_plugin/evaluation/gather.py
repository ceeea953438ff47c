"""Turn tables of predictions into the patients of one part: seeds averaged, folds joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import mean

from gimp_plugin import keys
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import EvaluationError, listed
from gimp_plugin.evaluation.origins import mixed_systems
from gimp_plugin.evaluation.patients import Patients, averaged, select, together
from gimp_plugin.storage.predictions import Predictions, read_predictions

FEW = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Patients to evaluate.

    Parameters
    ----------
    part
        Part of the splits that they come from.
    patients
        All patients, averaged over seeds.
    by_seed
        All patients as predicted by each seed; empty with one seed.
    n_unlabelled
        Number of cases of the part that were left out because they have no label.
    warnings
        What the reader of the numbers should know.
    test_to_train
        For repeated partitions, whose folds share patients: number of test cases per training case
        of a fold, averaged over the folds. None if no patient is in two folds.
    """

    part: str
    patients: Patients
    by_seed: tuple[Patients, ...]
    n_unlabelled: int
    warnings: tuple[str, ...]
    test_to_train: float | None = None


@dataclass(frozen=True, slots=True)
class _Fold:
    """Tables that predict the same patients, one per seed, and the other cases in them."""

    seeds: list[Patients]
    paths: list[Path]
    unlabelled: frozenset[str]
    trained: frozenset[str]
    validated: frozenset[str]


def gather(paths: Sequence[Path], *, part: str | None = None) -> Gathered:
    """Read tables and combine their patients.

    Tables of the same patients are seeds: their probabilities are averaged. Tables of different
    patients are folds. A table may also hold several folds, distinguished by a column `fold`.
    Tables that share some test patients are folds of repeated partitions, in which a test patient
    of one is a training or validation case of the other.

    Parameters
    ----------
    paths
        Tables of one system.
    part
        Part to evaluate; by default `test`, or `new` if there is no test case.

    Returns
    -------
    The patients.

    Raises
    ------
    EvaluationError
        If the part is empty, has no labels or lacks a class; if the tables do not fit together, or
        one is given twice; or if a table of repeated partitions has no training case.
    """
    tables = [read_predictions(path) for path in paths]
    _check_once(paths)
    _check_classes(tables)
    part = part or _headline(tables)
    folds = _folds(tables, part)
    seeds = [[one.seeds[place] for one in folds] for place in range(len(folds[0].seeds))]
    patients = together([averaged(one.seeds) for one in folds])
    return Gathered(
        part=part,
        patients=patients,
        by_seed=tuple(map(together, seeds)) if len(seeds) > 1 else (),
        n_unlabelled=len(frozenset().union(*(one.unlabelled for one in folds))),
        warnings=(
            *_few_cases(patients, part),
            *_mixed_halves(folds),
            *mixed_systems(paths, seeds=len(folds) == 1),
        ),
        test_to_train=_test_to_train(folds) if patients.n_patients < len(patients) else None,
    )


def _headline(tables: Sequence[Predictions]) -> str:
    """Choose the part for headline results: `test`, else `new`."""
    found = Counter(split for table in tables for split in table.splits)
    for part in (keys.TEST, keys.NEW):
        if found[part]:
            return part
    counts = ", ".join(f"{count} {part}" for part, count in found.items())
    problem = f"{_named(tables)} has no test and no new case, only {counts}"
    hint = "a model is not judged by what it was fitted on; to see the fit, ask for --part train"
    raise EvaluationError(problem, hint=hint)


def _folds(tables: Sequence[Predictions], part: str) -> list[_Fold]:
    """Group the tables by the patients that they predict."""
    folds: dict[frozenset[str], _Fold] = {}
    for table in tables:
        patients, unlabelled = select(table, part)
        if not len(patients):
            raise _nothing_to_evaluate(table, part, len(unlabelled))
        known = [
            frozenset(map(same_case, select(table, own)[0].case_ids))
            for own in (keys.TRAIN, keys.VAL)
        ]
        same = frozenset(map(same_case, patients.case_ids))
        fold = folds.setdefault(same, _Fold([], [], unlabelled, *known))
        fold.seeds.append(patients)
        fold.paths.append(table.path)
    found = list(folds.values())
    _check_overlaps(folds, part)
    _check_seeds(found)
    for fold in found:
        _check_every_class(fold, part)
    return found if len(found) == 1 else [_numbered(one, str(k)) for k, one in enumerate(found)]


def _numbered(fold: _Fold, number: str) -> _Fold:
    """Add the number of a table to its fold names, so that those of two tables differ."""
    seeds = [
        replace(one, folds=tuple(f"{number} {own}".strip() for own in one.folds))
        for one in fold.seeds
    ]
    return replace(fold, seeds=seeds)


def _nothing_to_evaluate(table: Predictions, part: str, n_unlabelled: int) -> EvaluationError:
    """Error for a part without cases or without labels."""
    where = repr(str(table.path))
    if n_unlabelled:
        problem = f"none of the {n_unlabelled} {part} cases in {where} has a label"
        hint = "predict with a cohort that has the --label-key column"
        return EvaluationError(problem, hint=hint)
    counts = ", ".join(f"{count} {name}" for name, count in Counter(table.splits).items())
    return EvaluationError(f"{where} has no {part} case", hint=f"it has {counts}")


def _check_once(paths: Sequence[Path]) -> None:
    """Refuse a table that is given twice: it would count as two seeds."""
    counts = Counter(path.resolve() for path in paths)
    twice = [path for path in paths if counts[path.resolve()] > 1]
    if twice:
        hint = "the tables of one system are its seeds and folds"
        raise EvaluationError(f"{str(twice[0])!r} is given twice", hint=hint)


def _check_classes(tables: Sequence[Predictions]) -> None:
    """Refuse tables of different classes."""
    for table in tables[1:]:
        if table.classes != tables[0].classes:
            raise EvaluationError(
                f"{str(tables[0].path)!r} has the classes {listed(tables[0].classes)}, "
                f"{str(table.path)!r} has {listed(table.classes)}"
            )


def _check_overlaps(folds: Mapping[frozenset[str], _Fold], part: str) -> None:
    """Refuse tables that share some but not all patients, unless from repeated partitions."""
    for (first, one), (second, other) in combinations(folds.items(), 2):
        shared = sorted(first & second)
        moved = first & (other.trained | other.validated) or second & (one.trained | one.validated)
        partitions = moved and one.trained and other.trained and part == keys.TEST
        if shared and not partitions:
            problem = (
                f"{str(one.paths[0])!r} and {str(other.paths[0])!r} share {len(shared)} {part} "
                f"cases but not all: {listed(shared)}"
            )
            hint = (
                "tables of one system hold the same patients (seeds), others (folds), or test "
                "cases of repeated partitions with their training cases, as gimp predict writes "
                "them"
            )
            raise EvaluationError(problem, hint=hint)


def _test_to_train(folds: Sequence[_Fold]) -> float:
    """Mean ratio of test to training cases of a fold; validation cases do not count."""
    for one in folds:
        if not one.trained:
            problem = f"{str(one.paths[0])!r} has no training case, and others share test cases"
            hint = "intervals of repeated partitions need them, as gimp predict writes them"
            raise EvaluationError(problem, hint=hint)
    return mean(len(one.seeds[0]) / len(one.trained) for one in folds)


def _check_seeds(folds: Sequence[_Fold]) -> None:
    """Refuse folds with different numbers of seeds."""
    fewest, most = (pick(folds, key=lambda one: len(one.paths)) for pick in (min, max))
    if len(fewest.paths) != len(most.paths):
        problem = (
            f"the patients of {str(fewest.paths[0])!r} are predicted by {len(fewest.paths)} "
            f"seeds, those of {str(most.paths[0])!r} by {len(most.paths)}"
        )
        raise EvaluationError(problem, hint="give the same number of seeds for every fold")


def _check_every_class(fold: _Fold, part: str) -> None:
    """Refuse a fold in which a class does not occur."""
    patients = fold.seeds[0]
    for name in patients.fold_names:
        present = set(patients.labels[patients.of_fold(name)].tolist())
        absent = [one for place, one in enumerate(patients.classes) if place not in present]
        if absent:
            where = f"{str(fold.paths[0])!r}{f', fold {name}' if name else ''}"
            problem = f"class {listed(absent)} has no {part} case in {where}"
            hint = "draw the splits stratified by class, or evaluate all folds together"
            raise EvaluationError(problem, hint=hint)


def _few_cases(patients: Patients, part: str) -> Iterator[str]:
    """Warn of classes with too few cases."""
    for place, name in enumerate(patients.classes):
        count = patients.where(patients.labels == place).n_patients
        if count < FEW:
            cases = "case" if count == 1 else "cases"
            yield f"class {name!r} has {count} {part} {cases}: too few to say much about it"


def _mixed_halves(folds: Sequence[_Fold]) -> Iterator[str]:
    """Warn of tables averaged as seeds that were predicted from different halves."""
    for fold in folds:
        halves = {frozenset(zip(one.case_ids, one.modalities, strict=True)) for one in fold.seeds}
        if len(halves) > 1:
            names = listed(path.name for path in fold.paths)
            problem = f"{names} were predicted from different halves and are averaged"
            yield f"{problem}: to see them side by side, compare them"


def _named(tables: Sequence[Predictions]) -> str:
    """Name tables in a message."""
    return listed((str(table.path) for table in tables), limit=2)
