"""Checks that all splits must pass, whatever their source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import SplitError, counted, did_you_mean, listed
from gimp_plugin.keys import PARTS, TEST, TRAIN, VAL

if TYPE_CHECKING:
    from gimp_plugin.cohort.splitting.splits import Splits

FEW = 5


def check_splits(splits: Splits, labels: Mapping[str, str]) -> list[str]:
    """Refuse splits that leak or cannot be used, and warn of thin ones.

    Parameters
    ----------
    splits
        The splits. Cases without a class in `labels` count only in the check for leaks.
    labels
        Class of each case that will be used.

    Returns
    -------
    Warnings for the user: classes with fewer than 5 cases in a part, cases that only `splits` or
    only `labels` has, no test part.

    Raises
    ------
    SplitError
        If a part has an unknown name, a patient is in two parts, train or val is empty, or a
        class is absent from a part.
    """
    check_parts(splits)
    classes = sorted(set(labels.values()))
    warnings = _unmatched(splits, labels)
    thin = []
    for part in PARTS:
        members = [labels[case_id] for case_id in splits.of(part) if case_id in labels]
        if not members and part != TEST:
            raise _empty(splits, part)
        if not members:
            warnings.append(f"{splits.source}: no case is in 'test'")
            continue
        counts = Counter(members)
        _refuse_absent(counts, classes, f"{splits.source}: part {part!r}")
        few = [f"{label!r} {counts[label]}" for label in classes if counts[label] < FEW]
        thin += [f"{part} ({', '.join(few)})"] if few else []
    if thin:
        warnings.append(
            f"{splits.source}: fewer than {FEW} cases of a class in {', '.join(thin)}: "
            "results for them mean little"
        )
    return warnings


def check_parts(splits: Splits) -> None:
    """Refuse splits that are unusable with any cohort.

    Parameters
    ----------
    splits
        The splits.

    Raises
    ------
    SplitError
        If a part has an unknown name, a patient is in two parts, or train or val is empty.
    """
    check_names(splits.parts, splits.source)
    check_disjoint(splits.parts.items(), splits.source)
    for part in (TRAIN, VAL):
        if not splits.of(part):
            raise _empty(splits, part)


def check_ancestry(
    splits: Splits,
    trained_cases: Iterable[str],
    *,
    where: str = "the run that this one starts from",
) -> None:
    """Refuse to evaluate a model on cases that it, or an ancestor, was trained on.

    Parameters
    ----------
    splits
        The splits of the new run.
    trained_cases
        Training cases of the earlier run and of all its ancestors.
    where
        Name of the earlier run, for the message.

    Raises
    ------
    SplitError
        If a val or test case is among them; TCGA ids are compared by their first 12 characters.
    """
    trained = {same_case(case_id) for case_id in trained_cases}
    counts, leaked = [], []
    for part in (VAL, TEST):
        members = splits.of(part)
        found = [case_id for case_id in members if same_case(case_id) in trained]
        if found:
            counts.append(f"{len(found)} of {len(members)} {part} cases")
            leaked += found
    if leaked:
        problem = f"{' and '.join(counts)} were training cases of {where} or of its ancestors"
        names = listed(leaked, limit=len(leaked))
        raise SplitError(
            f"{problem}: {names}", hint="use the splits of that run, or start from another run"
        )


def check_names(parts: Mapping[str, str], source: str) -> None:
    """Refuse parts other than train, val and test."""
    for case_id, part in parts.items():
        if part not in PARTS:
            near = did_you_mean(part, PARTS)
            problem = f"{source}: case {case_id!r} is in the unknown part {part!r}{near}"
            raise SplitError(problem, hint=f"expected {', '.join(PARTS)}")


def check_disjoint(pairs: Iterable[tuple[str, str]], source: str) -> None:
    """Refuse a patient in two parts, even under different names."""
    first: dict[str, tuple[str, str]] = {}
    twice = []
    for case_id, part in pairs:
        other_id, other_part = first.setdefault(same_case(case_id), (case_id, part))
        if other_part != part:
            names = case_id if case_id == other_id else f"{other_id} and {case_id}"
            twice.append(f"{names} ({other_part} and {part})")
    if twice:
        noun = "patient is" if len(twice) == 1 else "patients are"
        problem = f"{source}: {len(twice)} {noun} in two parts: {listed(twice)}"
        raise SplitError(
            problem, hint="put each patient into one part; TCGA ids are compared by 12 characters"
        )


def _empty(splits: Splits, part: str) -> SplitError:
    """Error for a part that must have cases and has none."""
    problem = f"{splits.source}: the part {part!r} is empty, expected cases of each class"
    named = splits.of(part)
    if named:
        told = counted(len(named), "case that it names is", "cases that it names are")
        problem = f"{problem}; the {told} not used here: {listed(named, limit=3)}"
    return SplitError(problem, hint="give splits with cases in train and val")


def _refuse_absent(counts: Counter[str], classes: list[str], where: str) -> None:
    """Refuse a part that lacks a class."""
    absent = [label for label in classes if not counts[label]]
    if absent:
        problem = f"{where} has no case of class {listed(absent)}"
        raise SplitError(problem, hint="give splits with every class in every part")


def _unmatched(splits: Splits, labels: Mapping[str, str]) -> list[str]:
    """Warn of cases that only the splits or only the labels have."""
    unused = [case_id for case_id in splits.parts if case_id not in labels]
    unplaced = [case_id for case_id in labels if case_id not in splits.parts]
    warnings = []
    if unused:
        told = counted(len(unused), "case is", "cases are")
        warnings.append(
            f"{splits.source}: {told} in the splits but not used here: {listed(unused)}"
        )
    if unplaced:
        told = counted(len(unplaced), "case has", "cases have")
        warnings.append(f"{splits.source}: {told} no part in the splits: {listed(unplaced)}")
    return warnings
