"""Assign whole sites to parts so that each part holds its share of every class.

Slides reveal the scanner and stain of their hospital, so testing a model on patients of the
hospitals it was trained on may test whether it recognises the hospital (Howard et al. 2021,
doi:10.1038/s41467-021-24698-1). Howard et al. find the folds by quadratic programming; here, a
local search does: sites are placed at random, then moved between parts or exchanged, always taking
the step with the largest gain until no step gains. The best of several starts is kept. The folds
are not proven to be optimal, but their deviation from the ideal is small, and it is reported.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import SplitError, listed

Floats = NDArray[np.float64]

N_STARTS = 24
LACKING = 1e3  # a part without a class costs more than any imbalance
NO_GAIN = -1e-12


@dataclass(frozen=True)
class _Problem:
    """Class counts of the sites and targets of the parts, both as shares of the class."""

    weights: Floats  # (site, class)
    targets: Floats  # (part, class)

    def cost(self, places: NDArray[np.int64]) -> float:
        """Squared distance from the targets; classes that a part lacks count most."""
        held = self.held(places)
        return float(((held - self.targets) ** 2).sum() + LACKING * _lacking(held).sum())

    def held(self, places: NDArray[np.int64]) -> Floats:
        """Share of each class in each part."""
        held = np.zeros_like(self.targets)
        np.add.at(held, places, self.weights)
        return held


def place_sites(
    sites: Mapping[str, Mapping[str, int]],
    shares: Sequence[float],
    *,
    seed: int,
    taken: Collection[frozenset[str]] = (),
) -> dict[str, int]:
    """Assign each site to a part so that the parts hold their shares of each class.

    Minimise the sum over parts and classes of the squared difference between the part's share of
    the class and the part's target share; all classes have equal weight, however small.

    Parameters
    ----------
    sites
        Number of cases of each class, by site.
    shares
        Share of the cases that each part should hold; they add up to 1.
    seed
        Seed of the random starts; the order of the sites does not matter.
    taken
        Sets of sites that no part may equal.

    Returns
    -------
    Number of the part, by site.

    Raises
    ------
    SplitError
        If every solution found has a part in `taken`.
    """
    names = sorted(sites)
    classes = sorted({label for counts in sites.values() for label in counts})
    counts = np.array([[sites[name].get(label, 0) for label in classes] for name in names], float)
    problem = _Problem(
        weights=counts / counts.sum(axis=0),
        targets=np.repeat(np.asarray(shares, float)[:, None], len(classes), axis=1),
    )
    generator = np.random.default_rng(seed)
    found = [
        _improved(problem, generator.choice(len(shares), size=len(names), p=shares))
        for _ in range(N_STARTS)
    ]
    fresh = [places for places in found if not _parts(names, places).intersection(taken)]
    if not fresh:
        told = "found no way to divide the sites that differs from the other repeats"
        raise SplitError(told, hint="draw fewer repeats, or do not draw by site")
    best = min(fresh, key=lambda places: round(problem.cost(places), 12))
    return {name: int(place) for name, place in zip(names, best, strict=True)}


def place_cases(
    labels: Mapping[str, str],
    sites: Mapping[str, str],
    shares: Sequence[float],
    *,
    seed: int,
    taken: Collection[frozenset[str]] = (),
) -> dict[str, int]:
    """Assign each case to a part with its whole site, so that each part has each class.

    Parameters
    ----------
    labels
        Class by case id.
    sites
        Site by case id.
    shares
        Share of the cases that each part should hold; they add up to 1.
    seed
        Seed of the search.
    taken
        Sets of sites that no part may equal.

    Returns
    -------
    Number of the part by case id, in the order of `labels`.

    Raises
    ------
    SplitError
        If a class comes from too few sites, no solution is found that gives every part each class
        and is not taken, or a patient has two sites.
    """
    by_site = counts_by_site(labels, sites)
    sites_of = Counter(label for counts in by_site.values() for label in counts)
    for label, count in sorted(sites_of.items()):
        if count < len(shares):
            problem = (
                f"the cases of class {label!r} come from {count} "
                f"site{'' if count == 1 else 's'}, expected at least {len(shares)}"
            )
            where = [site for site, counts in sorted(by_site.items()) if label in counts]
            raise SplitError(f"{problem}: {listed(where)}", hint="draw fewer folds, or not by site")
    placed = place_sites(by_site, shares, seed=seed, taken=taken)
    held: dict[int, Counter[str]] = defaultdict(Counter)
    for site, place in placed.items():
        held[place] += Counter(by_site[site])
    bare = sorted(
        {label for place in range(len(shares)) for label in sites_of.keys() - held[place]}
    )
    if bare:
        problem = f"found no way to keep sites whole and have class {listed(bare)} in every part"
        raise SplitError(problem, hint="draw fewer folds, or not by site")
    return {case_id: placed[sites[case_id]] for case_id in labels}


def counts_by_site(
    labels: Mapping[str, str], sites: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    """Count the cases of each class by site; refuse a patient of two sites."""
    first: dict[str, str] = {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case_id, label in labels.items():
        site = sites[case_id]
        if first.setdefault(same_case(case_id), site) != site:
            problem = f"patient {same_case(case_id)!r} has two sites"
            found = sorted({first[same_case(case_id)], site})
            raise SplitError(f"{problem}: {listed(found)}", hint="give each patient one site")
        counts[site][label] += 1
    return {site: dict(found) for site, found in counts.items()}


def _parts(names: Sequence[str], places: NDArray[np.int64]) -> set[frozenset[str]]:
    """Set of the sites in each part."""
    held: dict[int, list[str]] = defaultdict(list)
    for name, place in zip(names, places.tolist(), strict=True):
        held[place].append(name)
    return {frozenset(own) for own in held.values()}


def _improved(problem: _Problem, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move or exchange sites, always by the best step, until no step gains."""
    places, parts = places.copy(), np.arange(len(problem.targets))
    while True:
        held = problem.held(places)
        moves = _gains(problem, held, problem.weights[:, None], (places[:, None], parts[None]))
        change = problem.weights[:, None] - problem.weights[None]
        swaps = _gains(problem, held, change, (places[:, None], places[None]))
        site, part = np.unravel_index(moves.argmin(), moves.shape)
        one, other = np.unravel_index(swaps.argmin(), swaps.shape)
        if min(moves[site, part], swaps[one, other]) > NO_GAIN:
            return places
        if moves[site, part] <= swaps[one, other]:
            places[site] = part
        else:
            places[one], places[other] = places[other], places[one]


def _gains(
    problem: _Problem,
    held: Floats,
    change: Floats,
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Floats:
    """Change of the cost when `change` leaves the first part for the second, for many at once."""
    source, target = parts
    off = held - problem.targets
    squares = 2 * change * (change + off[target] - off[source])
    before = _lacking(held)
    lacking = _lacking(held[source] - change) + _lacking(held[target] + change)
    lacking = lacking - before[source] - before[target]
    gains = squares.sum(axis=-1) + LACKING * lacking.sum(axis=-1)
    return np.where(source == target, 0.0, gains)


def _lacking(held: Floats) -> Floats:
    """1 for each class that a part lacks, else 0."""
    return (held < 1e-9).astype(float)
