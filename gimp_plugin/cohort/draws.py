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
    class_of = {same_case(case_id): label for case_id, label in sorted(labels.items())}
    counts = Counter(class_of.values())
    _check_counts(counts, n_parts=len(parts) + 1)
    large = [patient for patient in sorted(class_of) if counts[class_of[patient]] >= N_FOLDS]
    part_of = _fold_parts(large, [class_of[patient] for patient in large], parts, seed)
    generator = np.random.default_rng(seed)
    for label in sorted(label for label, count in counts.items() if count < N_FOLDS):
        members = sorted(patient for patient in class_of if class_of[patient] == label)
        drawn = generator.permutation(len(members))[: len(parts)]
        part_of |= {members[place]: part for place, part in zip(drawn, parts, strict=True)}
    return {case_id: part_of.get(same_case(case_id), TRAIN) for case_id in labels}


def _fold_parts(
    patients: Sequence[str], classes: Sequence[str], parts: Sequence[str], seed: int
) -> dict[str, str]:
    """Part of the patients that fall into the first folds, a fold for each part."""
    from sklearn.model_selection import StratifiedKFold  # half a second

    if not patients:
        return {}
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    held_out = [test for _, test in folds.split(np.zeros(len(patients)), np.asarray(classes))]
    return {
        patients[place]: part
        for part, places in zip(parts, held_out, strict=False)
        for place in places
    }


def _check_counts(counts: Mapping[str, int], *, n_parts: int) -> None:
    """Refuse classes that cannot be in every part."""
    for label, count in sorted(counts.items()):
        if count < n_parts:
            cases = "case" if count == 1 else "cases"
            problem = f"class {label!r} has {count} {cases}, expected at least {n_parts}"
            hint = "one for each part; leave the class out or add cases"
            raise SplitError(problem, hint=hint)
