"""Running a comparison: one cell after the other, each once, and the tables at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from gimp_plugin.assembly.device import device_of
from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.errors import ConfigError, EvaluationError, SafetyError
from gimp_plugin.storage.atomic import clean_partials
from gimp_plugin.storage.tables import FAILURES, Failure, read_csv, write_failures
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.design import Design, designed
from gimp_plugin.studies.benchmark.folder import (
    Cost,
    Place,
    check_current,
    claim,
    cost_of,
    seal,
)
from gimp_plugin.studies.benchmark.inputs import write
from gimp_plugin.studies.benchmark.memory import Watch
from gimp_plugin.studies.benchmark.methods import method_of
from gimp_plugin.studies.benchmark.protocol import Protocol
from gimp_plugin.studies.benchmark.report import write_tables
from gimp_plugin.studies.benchmark.shards import Shard, in_turn, working
from gimp_plugin.studies.benchmark.table import Tables, tabulate

logger = logging.getLogger(__name__)

STAGE = "benchmark"
DONE, NOTHING = "done", "nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """What a comparison came to.

    Parameters
    ----------
    path
        Its folder.
    outcome
        `done`, or `nothing to do` when every cell was there.
    n_cells
        Cells that were asked for: of the design, or of the shard.
    failures
        Those of them that failed.
    tables
        What was found.
    """

    path: Path
    outcome: str
    n_cells: int
    failures: tuple[Failure, ...]
    tables: Tables


def run_benchmark(
    source: CohortSource,
    config: GimpConfig,
    protocol: Protocol | None = None,
    *,
    output: Path,
    runtime: Runtime,
    report_only: bool = False,
    shard: Shard | None = None,
) -> BenchmarkResult:
    """Train every method on every fold and seed, and compare them on the same test patients.

    A cell that is done is not done again, so the same call goes on where it was interrupted, and
    one with more methods, folds or seeds adds to what is there.

    Parameters
    ----------
    source
        Where the cases are. Those that lack a half are left out.
    config
        Model and training, the same for all methods that have them.
    protocol
        What is compared; by default all methods once on every fold.
    output
        Folder of the comparison.
    runtime
        Device, precision, and the first seed.
    report_only
        Train nothing: make the tables of what is done.
    shard
        Do this part of the cells only, other processes do the others in the same folder; the
        tables are of what is done so far by all.

    Returns
    -------
    What was found.

    Raises
    ------
    ConfigError
        If a method, fold or component is unknown, or tables alone are asked of a shard.
    StaleOutputError
        If the folder holds a comparison made from other inputs, or something else.
    LockedError
        If another process works on these cells.
    EvaluationError
        If no cell could be done.
    GimpError
        If the inputs cannot be trusted.
    """
    if report_only and shard is not None:
        raise ConfigError("tables alone are those of all shards", hint="leave --shard out")
    design = designed(source, config, protocol or Protocol(), runtime=runtime)
    if report_only:
        check_current(output, design.identity)
        return _reported(design, output, outcome=NOTHING)
    own = design.places if shard is None else shard.of(design.places)
    with working(output, shard):
        with in_turn(output):
            claim(output, design.identity, overwrite=runtime.overwrite)
            cells = _cells(design, own, output)
        n_tried = _run(cells)
        return _reported(design, output, own=own, outcome=DONE if n_tried else NOTHING)


def _cells(design: Design, places: Iterable[Place], output: Path) -> list[Cell]:
    """Some cells of a design, with what they read written down."""
    inputs = write(design.inputs, output, regime=design.regime)
    return [
        Cell(
            place=place,
            output=output,
            identity=design.identity,
            inputs=inputs,
            config=design.config,
            # Whatever lies in a cell that is not done is ours.
            runtime=replace(design.runtime, seed=place.seed, overwrite=True),
            epochs=design.epochs,
        )
        for place in places
    ]


def _run(cells: Sequence[Cell]) -> int:
    """Do what is not done; the number of cells that were tried."""
    costs = {cell.place: _cost(cell) for cell in cells}
    waiting = [cell for cell in cells if costs[cell.place] is None]
    n_done = len(cells) - len(waiting)
    if n_done:
        logger.info("%d of %d cells are done", n_done, len(cells))
    spent = _spent(costs)
    for number, cell in enumerate(waiting, start=1):
        started = time.monotonic()
        error = _tried(cell)
        seconds = time.monotonic() - started
        spent.setdefault(cell.place.method, []).append(seconds)
        left = _left(spent, [one.place.method for one in waiting[number:]])
        end = f", about {_spelled(left)} left" if number < len(waiting) else ""
        at = f"[{n_done + number}/{len(cells)}] {cell.place}"
        if error is None:
            logger.info("%s: done in %s%s", at, _spelled(seconds), end)
        else:
            logger.error("%s: failed: %s%s", at, _one_line(error), end)
        _note(cell, error)
    return len(waiting)


def _tried(cell: Cell) -> Exception | None:
    """Do one cell; what stops it, if anything does."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    clean_partials(cell.folder)
    cell.predictions.unlink(missing_ok=True)  # no current table of a cell that is not done
    watch = Watch(device_of(cell.runtime))
    try:
        cost = method_of(cell.place.method).train(cell)
    except SafetyError:  # a file that means harm stops everything
        raise
    except Exception as error:  # a method that fails stops no other
        logger.debug("%s", cell.place, exc_info=True)
        return error
    cost = cost.with_peaks(watch.memory, watch.gpu_memory)
    seal(cell.folder, cell.place, cell.identity, cost)
    return None


def _note(cell: Cell, error: Exception | None) -> None:
    """Keep the list of failed cells up to date."""
    with in_turn(cell.output):
        before = _listed(cell.output)
        failures = [one for one in before if one.item != str(cell.place)]
        if error is not None:
            kind = type(error).__name__
            failures.append(Failure(str(cell.place), STAGE, kind, _one_line(error)))
        if failures != before:
            write_failures(cell.output, failures)


def _listed(output: Path) -> list[Failure]:
    """Cells that failed, in this run or before."""
    path = output / FAILURES
    return [Failure(**row) for row in read_csv(path)] if path.is_file() else []


def _reported(
    design: Design, output: Path, *, outcome: str, own: Sequence[Place] | None = None
) -> BenchmarkResult:
    """Make the tables of what is done, which no earlier view of it replaces."""
    with in_turn(output):
        tables, failures = _tables(design, output)
    asked = {str(place) for place in (design.places if own is None else own)}
    return BenchmarkResult(
        path=output,
        outcome=outcome,
        n_cells=len(asked),
        failures=tuple(one for one in failures if one.item in asked),
        tables=tables,
    )


def _tables(design: Design, output: Path) -> tuple[Tables, tuple[Failure, ...]]:
    """Tables of what is done, written; and what failed."""
    costs = {place: _cost_at(place, output, design) for place in design.places}
    items = {str(place) for place, cost in costs.items() if cost is None}
    failures = tuple(one for one in _listed(output) if one.item in items)
    if failures and not any(costs.values()):
        problem = f"none of {len(costs)} cells could be done: {failures[0].message}"
        raise EvaluationError(problem, hint=f"see {str(output / FAILURES)!r}")
    tables = tabulate(
        costs,
        output=output,
        failed={one.item for one in failures},
        reference=design.reference,
        regime=str(design.regime),
        seed=design.runtime.seed,
        sets=design.sets,
    )
    tables = replace(tables, epochs=design.epochs)
    write_tables(output, tables)
    return tables, failures


def _cost(cell: Cell) -> Cost | None:
    """Cost of a cell that is done."""
    return cost_of(cell.folder, cell.place, cell.identity)


def _cost_at(place: Place, output: Path, design: Design) -> Cost | None:
    """Cost of a cell that is done."""
    return cost_of(place.within(output), place, design.identity)


def _spent(costs: Mapping[Place, Cost | None]) -> dict[str, list[float]]:
    """Seconds of the cells that are done, by method; what needs others counts theirs."""
    spent: dict[str, list[float]] = {}
    for place, cost in costs.items():
        if cost is not None:
            own = 0.0 if method_of(place.method).needs else cost.seconds
            spent.setdefault(place.method, []).append(own)
    return spent


def _left(spent: Mapping[str, Sequence[float]], waiting: Sequence[str]) -> float:
    """Seconds that cells will take, by those of the same method, else by all."""
    every = [seconds for own in spent.values() for seconds in own]
    return sum(mean(spent.get(method) or every) for method in waiting)


def _spelled(seconds: float) -> str:
    """Give a time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _one_line(error: Exception) -> str:
    """Message of an error without its line breaks."""
    return " ".join(str(error).split())
