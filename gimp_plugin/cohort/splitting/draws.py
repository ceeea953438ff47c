"""Draw parts of a cohort by patient, stratified by class, reproducibly for a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import SplitError
from gimp_plugin.keys import TRAIN

N_FOLDS = 5


def draw_fifths(labels: Mapping[str, str], *, parts: Sequence[str], seed: int) -> dict[str, str]:
    """Assign a stratified fifth of the patients to each of the given parts, the rest to `train`.

    The draw depends on the patients, their classes and the seed, not on the order of the cases.
    Each part gets one patient of a class with fewer than five patients.

    Parameters
    ----------
    labels
        Class by case id.
    parts
        Parts to fill, at most four.
    seed
        Seed of the draw.

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
    """Assign each patient to a fold; class counts of folds differ by at most one patient.

    Parameters
    ----------
    class_of
        Class by patient, in a fixed order; each class has at least `n_folds` patients.
    n_folds
        Number of folds.
    seed
        Seed of the draw.

    Returns
    -------
    Number of the fold by patient.
    """
    from sklearn.model_selection import StratifiedKFold  # takes half a second

    patients = list(class_of)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    drawn = folds.split(np.zeros(len(patients)), np.asarray(list(class_of.values())))
    return {patients[place]: fold for fold, (_, test) in enumerate(drawn) for place in test}


def draw_share(class_of: Mapping[str, str], *, share: float, seed: int) -> frozenset[str]:
    """Draw a share of the patients of each class, rounded, at least one and not all.

    Parameters
    ----------
    class_of
        Class by patient, in a fixed order.
    share
        Share to draw, between 0 and 1.
    seed
        Seed of the draw.

    Returns
    -------
    The drawn patients.

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
    """Refuse classes with too few patients, and say what they are needed for."""
    for label, count in sorted(counts.items()):
        if count < least:
            cases = "case" if count == 1 else "cases"
            problem = f"class {label!r} has {count} {cases}, expected at least {least}"
            raise SplitError(problem, hint=f"{what}; leave the class out or add cases")
