"""Results of a comparison by method: evaluations, tests against a reference, and costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gimp_plugin.evaluation import Evaluation, evaluate, metrics
from gimp_plugin.evaluation.gather import gather
from gimp_plugin.evaluation.result import Comparison
from gimp_plugin.evaluation.scores import value
from gimp_plugin.studies.benchmark.folder import PREDICTIONS, Cost, Place
from gimp_plugin.studies.benchmark.printed import Printed, in_order, rows_of

CELL_SCORES = {"accuracy": metrics.accuracy, "auc": metrics.auc, "log_loss": metrics.log_loss}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCell:
    """Scores of one training: a method on a fold with a seed.

    Parameters
    ----------
    place
        Method, fold and seed.
    cost
        Cost of the training.
    n_cases
        Number of test cases.
    scores
        Scores on the test cases, by the names of `CELL_SCORES`.
    """

    place: Place
    cost: Cost
    n_cases: int
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Results of one method.

    Parameters
    ----------
    method
        Name of the method.
    n_cells
        Number of its cells in the design.
    costs
        Cost of each finished cell.
    found
        Evaluation on the test cases; None while a fold is not done.
    tested
        Test of the reference against this method; None for the reference itself, or if one of the
        two has no evaluation.
    printed
        Rows of the paper, if its tables were asked for.
    """

    method: str
    n_cells: int
    costs: tuple[Cost, ...]
    found: Evaluation | None = None
    tested: Comparison | None = None
    printed: tuple[Printed, ...] = ()

    def less_reference(self, score: str) -> float:
        """Give the method's `accuracy` or `auc` minus that of the reference."""
        return 0.0 - float(getattr(self.tested, f"{score}_difference"))

    def ends_less_reference(self, score: str) -> tuple[float, float] | None:
        """Give the 95 % interval of that difference, if the test has one."""
        ends = getattr(self.tested, f"{score}_difference_ends")
        return ends and (0.0 - ends[1], 0.0 - ends[0])

    @property
    def seconds(self) -> float:
        """Training time of all cells."""
        return sum(one.seconds for one in self.costs)

    @property
    def n_parameters(self) -> int | None:
        """Trained parameters of a cell; None while no cell is done."""
        return max((one.n_parameters for one in self.costs), default=None)

    @property
    def n_settings(self) -> int | None:
        """Settings that were trained for a cell; None while no cell is done."""
        return max((one.n_settings for one in self.costs), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Results of a comparison.

    Parameters
    ----------
    rows
        The methods; rows of requested tables of the paper come first, in its order.
    reference
        Method that the others are tested against.
    folds
        Folds that count, because every method was tried on them.
    n_folds
        Number of requested folds.
    regime
        What the methods may learn from.
    epochs
        Total of each network, if given.
    cells
        Every finished training.
    """

    rows: tuple[Row, ...]
    reference: str
    folds: tuple[str, ...]
    n_folds: int
    regime: str
    epochs: int | None = None
    cells: tuple[ScoredCell, ...] = ()

    @property
    def beside_the_paper(self) -> bool:
        """Whether rows of the paper's tables were asked for."""
        return any(one.printed for one in self.rows)

    @property
    def evaluated(self) -> tuple[Evaluation, ...]:
        """Evaluations of the methods that have one."""
        return tuple(one.found for one in self.rows if one.found is not None)


def tabulate(
    costs: Mapping[Place, Cost | None],
    *,
    output: Path,
    failed: Collection[str],
    reference: str,
    regime: str,
    seed: int,
    sets: Collection[str] = (),
) -> Tables:
    """Evaluate the finished cells: seeds averaged, folds joined, tests against the reference.

    Folds of repeated partitions, which share test cases, are tested as in `evaluate`.

    A fold counts once every method was tried on it, and a seed of a method once it is done on
    every fold that counts. A method without such a seed has no figures.

    Parameters
    ----------
    costs
        Every cell, with its cost if it is done.
    output
        Folder of the comparison.
    failed
        Names of the cells that failed.
    reference
        Method that the others are tested against.
    regime
        What the methods may learn from.
    seed
        Seed of the bootstrap and the permutations.
    sets
        Requested tables of the paper.

    Returns
    -------
    The tables.
    """
    methods = tuple(dict.fromkeys(place.method for place in costs))
    folds = _counted_folds(costs, failed)
    tables = {name: _predictions(name, costs, folds, output) for name in methods}
    others = [name for name in methods if tables[name] and name != reference]
    found = {name: evaluate(tables[name], seed=seed) for name in others}
    tested: dict[str, Comparison] = {}
    if tables[reference]:
        rivals = [tables[name] for name in others]
        found[reference] = evaluate(tables[reference], others=rivals, seed=seed)
        tested = dict(zip(others, found[reference].comparisons, strict=True))
    rows = tuple(
        Row(
            method=name,
            n_cells=sum(place.method == name for place in costs),
            costs=tuple(cost for place, cost in costs.items() if cost and place.method == name),
            found=found.get(name),
            tested=tested.get(name),
            printed=rows_of(sets, name),
        )
        for name in in_order(methods, sets)
    )
    return Tables(
        rows=rows,
        reference=reference,
        folds=folds,
        n_folds=len({place.fold for place in costs}),
        regime=regime,
        cells=tuple(_scored(place, cost, output) for place, cost in costs.items() if cost),
    )


def _scored(place: Place, cost: Cost, output: Path) -> ScoredCell:
    """Evaluate one training alone."""
    patients = gather([place.within(output) / PREDICTIONS]).patients
    scores = {name: value(metric, patients) for name, metric in CELL_SCORES.items()}
    return ScoredCell(place=place, cost=cost, n_cases=len(patients), scores=scores)


def _counted_folds(costs: Mapping[Place, Cost | None], failed: Collection[str]) -> tuple[str, ...]:
    """Folds on which every method was tried."""
    tried = {(p.method, p.fold) for p, cost in costs.items() if cost or str(p) in failed}
    wanted = {(place.method, place.fold) for place in costs}
    waited_for = {fold for _, fold in wanted - tried}
    return tuple(dict.fromkeys(p.fold for p in costs if p.fold not in waited_for))


def _predictions(
    method: str, costs: Mapping[Place, Cost | None], folds: Sequence[str], output: Path
) -> list[Path]:
    """Tables of a method, for the seeds that are done on all folds that count."""
    done = {place for place, cost in costs.items() if cost and place.method == method}
    seeds = {place.seed for place in costs}
    whole = {seed for seed in seeds if all(Place(method, fold, seed) in done for fold in folds)}
    places = [place for place in done if place.fold in folds and place.seed in whole]
    return sorted(place.within(output) / PREDICTIONS for place in places)
