"""Cross-validation: folds by patient or by whole sites, repeated, each with its own val part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.cohort.splitting.draws import (
    check_counts,
    classes_of_patients,
    draw_equal_folds,
    draw_share,
)
from gimp_plugin.cohort.splitting.placing import counts_by_site, place_cases
from gimp_plugin.cohort.splitting.splits import Splits, draw_splits
from gimp_plugin.config.checks import require_range
from gimp_plugin.errors import SplitError
from gimp_plugin.keys import PARTS, TEST, TRAIN, VAL

FIFTH = 0.2
THREE_PARTS = (0.6, 0.2, 0.2)
MAX_FOLDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlan:
    """Plan of the folds to draw.

    Parameters
    ----------
    n_folds
        Number of folds, each the test part once; 0 draws one 60/20/20 split.
    n_repeats
        Number of repeats, each with other draws; the folds are then named `r0f0`, `r0f1`, ...
    val_share
        Share of the cases outside the test part that become val, in each fold.
    seed
        Seed of all draws.
    """

    n_folds: int = 0
    n_repeats: int = 1
    val_share: float = FIFTH
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.n_folds:
            require_range("folds", self.n_folds, low=2, high=MAX_FOLDS)
        require_range("repeats", self.n_repeats, low=1, high=MAX_FOLDS)
        require_range("val_share", self.val_share, low=0.01, high=0.9)
        require_range("seed", self.seed, low=0, high=2**32 - 1)

    @property
    def test_share(self) -> float:
        """Share of the cases in a test part."""
        return 1 / self.n_folds if self.n_folds else FIFTH


def draw_folds(
    labels: Mapping[str, str], plan: FoldPlan, *, sites: Mapping[str, str] | None = None
) -> tuple[Splits, ...]:
    """Draw folds by patient, stratified by class; if sites are given, by whole sites.

    Parameters
    ----------
    labels
        Class by case id; the order does not matter.
    plan
        Plan of the folds.
    sites
        Site by case id. No site is then in two parts of a fold, and no test part occurs twice.

    Returns
    -------
    The folds, each with the cases in the order of `labels`.

    Raises
    ------
    SplitError
        If a class has too few patients or sites to be in every part, a patient has two sites, or
        no repeat is found whose test parts are new.
    """
    drawn: dict[str, dict[str, str]] = {}
    taken: set[frozenset[str]] = set()
    for repeat in range(plan.n_repeats):
        round_ = _Round(labels, plan, repeat, sites, frozenset(taken))
        first = f"r{repeat}" if plan.n_repeats > 1 else ""
        for fold, parts in round_.folds():
            drawn[f"{first}f{fold}" if first and plan.n_folds else first or str(fold)] = parts
            tested = (case_id for case_id, part in parts.items() if part == TEST)
            if sites is not None:
                taken.add(frozenset(sites[case_id] for case_id in tested))
    kind = "" if sites is None else " by whole sites"
    source = f"splits drawn{kind} with seed {plan.seed}"
    return tuple(
        Splits(parts=parts, source=f"{source}, fold {name}", fold=name)
        for name, parts in drawn.items()
    )


def large_sites(labels: Mapping[str, str], sites: Mapping[str, str], plan: FoldPlan) -> list[str]:
    """Warn of sites that hold more of a class than a test part should."""
    totals, warnings = Counter(labels.values()), []
    for site, counts in sorted(counts_by_site(labels, sites).items()):
        for label, count in sorted(counts.items()):
            ideal = totals[label] * plan.test_share
            if count > ideal:
                warnings.append(
                    f"site {site!r} alone holds {count} of {totals[label]} cases of {label!r}, "
                    f"a test part should hold {ideal:.1f}: the folds cannot be balanced"
                )
    return warnings


def test_from_val(splits: Splits, labels: Mapping[str, str], plan: FoldPlan) -> Splits:
    """Make the val part of another program's splits the test part, and draw val from train.

    SurvPath and related programs report results on what they call val.

    Parameters
    ----------
    splits
        Splits without a test part.
    labels
        Class by case id.
    plan
        Plan with the `val_share`, here the share of train that becomes val, and the `seed`.

    Returns
    -------
    The splits with three parts.

    Raises
    ------
    SplitError
        If there is a test part already, or a class has too few patients in train.
    """
    if splits.of(TEST):
        problem = f"{splits.source} already has a test part of {len(splits.of(TEST))} cases"
        raise SplitError(problem, hint="leave out --val-as-test")
    train = {case_id: labels[case_id] for case_id in splits.of(TRAIN) if case_id in labels}
    val = draw_share(classes_of_patients(train), share=plan.val_share, seed=plan.seed)
    moved = {VAL: TEST, TRAIN: TRAIN}
    parts = {
        case_id: VAL if part == TRAIN and same_case(case_id) in val else moved[part]
        for case_id, part in splits.parts.items()
    }
    return replace(splits, parts=parts)


@dataclass(frozen=True, slots=True)
class _Round:
    """One repeat of the draw."""

    labels: Mapping[str, str]
    plan: FoldPlan
    repeat: int
    sites: Mapping[str, str] | None
    taken: frozenset[frozenset[str]]

    def one_draw(self) -> dict[str, str]:
        """Draw 60/20/20; the first repeat is the draw that training itself makes."""
        seed = self.plan.seed if self.repeat == 0 else self._seed()
        if self.sites is None:
            return dict(draw_splits(self.labels, seed=seed).parts)
        places = place_cases(self.labels, self.sites, THREE_PARTS, seed=seed, taken=self.taken)
        return {case_id: PARTS[place] for case_id, place in places.items()}

    def folds(self) -> list[tuple[int, dict[str, str]]]:
        """Draw numbered folds, every case in one test part; or the single 60/20/20 split."""
        if not self.plan.n_folds:
            return [(0, self.one_draw())]
        fold_of = self._test_folds()
        return [(fold, self._with_val(fold_of, fold)) for fold in range(self.plan.n_folds)]

    def _test_folds(self) -> dict[str, int]:
        """Number of the fold in which each case is tested."""
        n_folds, seed = self.plan.n_folds, self._seed()
        if self.sites is not None:
            shares = [1 / n_folds] * n_folds
            return place_cases(self.labels, self.sites, shares, seed=seed, taken=self.taken)
        class_of = classes_of_patients(self.labels)
        counts = Counter(class_of.values())
        check_counts(counts, least=n_folds, what=f"one for each of {n_folds} folds")
        fold_of = draw_equal_folds(class_of, n_folds=n_folds, seed=seed)
        return {case_id: fold_of[same_case(case_id)] for case_id in self.labels}

    def _with_val(self, fold_of: Mapping[str, int], fold: int) -> dict[str, str]:
        """Parts of one fold: its cases are test, a share of the others val."""
        try:
            return self._drawn_val(fold_of, fold)
        except SplitError as error:
            problem = f"outside the test part of fold {fold}: {error.problem}"
            raise SplitError(problem, hint=error.hint) from error

    def _drawn_val(self, fold_of: Mapping[str, int], fold: int) -> dict[str, str]:
        """Draw the parts of one fold; refuse if there are too few other cases."""
        rest = {name: label for name, label in self.labels.items() if fold_of[name] != fold}
        share, seed = self.plan.val_share, self._seed(fold + 1)
        if self.sites is None:
            patients = draw_share(classes_of_patients(rest), share=share, seed=seed)
            val = {case_id for case_id in rest if same_case(case_id) in patients}
        else:
            places = place_cases(rest, self.sites, [share, 1 - share], seed=seed)
            val = {case_id for case_id, place in places.items() if place == 0}
        return {
            case_id: TEST if case_id not in rest else VAL if case_id in val else TRAIN
            for case_id in self.labels
        }

    def _seed(self, draw: int = 0) -> int:
        """Seed of one draw of this repeat; all are different."""
        places = [self.plan.seed, self.repeat, draw]
        return int(np.random.SeedSequence(places).generate_state(1)[0])
