"""Drawing parts of a cohort: stratified by class, by patient, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import SplitError
from gimp_plugin.keys import TRAIN

N_FOLDS = 5


def draw_fifths(labels: Mapping[str, str], *, parts: Sequence[str], seed: int) -> dict[str, str]:
    """Give a stratified fifth of the patients to each of some parts, the rest to `train`.

    The draw depends on the patients, their classes and the seed, not on the order of the cases.
    A class of fewer than five patients gives one to each part.

    Parameters
    ----------
    labels
        Class by case id.
    parts
        Parts to fill, at most four.
    seed
        Of the draw.

    Returns
    -------
    Part by case id, in the order of `labels`.

    Raises
    ------
    SplitError
        If a class has fewer patients than there are parts, `train` included.
    """
    class_of = classes_of_patients(labels)
    counts = Counter(class_of.values())
    check_counts(counts, least=len(parts) + 1, what="one for each part")
    large = {patient: label for patient, label in class_of.items() if counts[label] >= N_FOLDS}
    fold_of = draw_equal_folds(large, n_folds=N_FOLDS, seed=seed) if large else {}
    part_of = {patient: parts[fold] for patient, fold in fold_of.items() if fold < len(parts)}
    generator = np.random.default_rng(seed)
    for label in sorted(label for label, count in counts.items() if count < N_FOLDS):
        members = [patient for patient in class_of if class_of[patient] == label]
        drawn = generator.permutation(len(members))[: len(parts)]
        part_of |= {members[place]: part for place, part in zip(drawn, parts, strict=True)}
    return {case_id: part_of.get(same_case(case_id), TRAIN) for case_id in labels}


def draw_equal_folds(class_of: Mapping[str, str], *, n_folds: int, seed: int) -> dict[str, int]:
    """Give each patient one of some folds; a class differs by one patient between them at most.

    Parameters
    ----------
    class_of
        Class by patient, in an order that depends on nothing else; each has `n_folds` patients.
    n_folds
        Number of folds.
    seed
        Of the draw.

    Returns
    -------
    Number of the fold by patient.
    """
    from sklearn.model_selection import StratifiedKFold  # half a second

    patients = list(class_of)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    drawn = folds.split(np.zeros(len(patients)), np.asarray(list(class_of.values())))
    return {patients[place]: fold for fold, (_, test) in enumerate(drawn) for place in test}


def draw_share(class_of: Mapping[str, str], *, share: float, seed: int) -> frozenset[str]:
    """Draw a share of the patients of each class, rounded, at least one and not all.

    Parameters
    ----------
    class_of
        Class by patient, in an order that depends on nothing else.
    share
        Share to draw, between 0 and 1.
    seed
        Of the draw.

    Returns
    -------
    The patients that were drawn.

    Raises
    ------
    SplitError
        If a class has fewer than two patients.
    """
    counts = Counter(class_of.values())
    check_counts(counts, least=2, what="one for train and one for val")
    generator = np.random.default_rng(seed)
    drawn: set[str] = set()
    for label in sorted(counts):
        members = [patient for patient, own in class_of.items() if own == label]
        n_drawn = min(max(round(share * len(members)), 1), len(members) - 1)
        drawn |= {members[place] for place in generator.permutation(len(members))[:n_drawn]}
    return frozenset(drawn)


def classes_of_patients(labels: Mapping[str, str]) -> dict[str, str]:
    """Class by patient, sorted by the patients' names."""
    return dict(sorted({same_case(name): label for name, label in sorted(labels.items())}.items()))


def check_counts(counts: Mapping[str, int], *, least: int, what: str) -> None:
    """Refuse classes with too few patients, and say what so many are needed for."""
    for label, count in sorted(counts.items()):
        if count < least:
            cases = "case" if count == 1 else "cases"
            problem = f"class {label!r} has {count} {cases}, expected at least {least}"
            raise SplitError(problem, hint=f"{what}; leave the class out or add cases")
