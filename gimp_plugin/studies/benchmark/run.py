"""Run a comparison: every cell once, and the tables at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gimp_plugin.cluster import check_scheduler, connected
from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.errors import ConfigError, EvaluationError
from gimp_plugin.storage.tables import FAILURES, Failure, read_csv, write_failures
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.contract import warn_of_parts
from gimp_plugin.studies.benchmark.design import Design, cells_of, designed
from gimp_plugin.studies.benchmark.folder import (
    Cost,
    Place,
    check_current,
    check_plugins,
    claim,
    cost_of,
)
from gimp_plugin.studies.benchmark.progress import Progress
from gimp_plugin.studies.benchmark.protocol import Protocol
from gimp_plugin.studies.benchmark.report import write_tables
from gimp_plugin.studies.benchmark.shards import Shard, in_turn, working
from gimp_plugin.studies.benchmark.table import Tables, tabulate
from gimp_plugin.studies.benchmark.work import Ended, cost, here
from gimp_plugin.studies.benchmark.workers import Job, by_workers, with_absolute_paths

DONE, NOTHING = "done", "nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Result of a comparison.

    Parameters
    ----------
    path
        Folder of the comparison.
    outcome
        `done`, or `nothing to do` if every cell was already done.
    n_cells
        Number of requested cells, of the design or of the shard.
    failures
        Requested cells that failed.
    tables
        The results.
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
    scheduler: str = "",
) -> BenchmarkResult:
    """Train every method on every fold and seed, and compare them on the same test patients.

    A finished cell is not done again, so the same call resumes an interrupted comparison, and a
    call with more methods, folds or seeds adds to it.

    Parameters
    ----------
    source
        Where the cases are; those that lack a half are left out.
    config
        Settings of the model and the training, for all methods that use them.
    protocol
        What is compared; by default all methods once on every fold.
    output
        Folder of the comparison.
    runtime
        Device, precision, and the first seed.
    report_only
        Train nothing, only make the tables of the finished cells.
    shard
        Do only this part of the cells, while other processes do the others in the same folder. The
        tables cover all cells finished so far.
    scheduler
        Where to do the cells: address or file of a dask scheduler, or `local:N` for N processes;
        empty for this process.

    Returns
    -------
    The results.

    Raises
    ------
    ConfigError
        If a method, fold or component is unknown, or `shard` is combined with `report_only` or
        `scheduler`.
    ResourceError
        If there is no such scheduler, or one of its workers cannot take part.
    StaleOutputError
        If the folder holds a comparison made from other inputs, or something else.
    LockedError
        If another process works on these cells.
    EvaluationError
        If no cell could be done.
    GimpError
        If the inputs are not valid.
    """
    if report_only and shard is not None:
        raise ConfigError("--report-only makes the tables of all shards", hint="leave --shard out")
    if scheduler and shard is not None:
        problem = "a comparison is divided by a scheduler or by shards, not both"
        raise ConfigError(problem, hint="leave --shard or --scheduler out")
    if scheduler:
        check_scheduler(scheduler)
    protocol = protocol or Protocol()
    design = designed(source, config, protocol, runtime=runtime)
    if report_only:
        check_current(output, design.identity)
        check_plugins(output, design.places, design.identity)
        return _reported(design, output, outcome=NOTHING)
    warn_of_parts(design.config, dict.fromkeys(place.method for place in design.places))
    own = design.places if shard is None else shard.of(design.places)
    with ExitStack() as stack:
        ended = here
        if scheduler and not all(_cost_at(place, output, design) for place in own):
            client = stack.enter_context(connected(scheduler, device=runtime.device))
            far_source, far_config = with_absolute_paths(source, config)
            job = Job(
                source=far_source,
                config=far_config,
                protocol=protocol,
                runtime=runtime,
                output=output.absolute(),
                identity=dict(design.identity),
            )
            ended = partial(by_workers, job=job, client=client)
        stack.enter_context(working(output, shard))
        with in_turn(output):
            claim(output, design.identity, overwrite=runtime.overwrite)
            if not runtime.overwrite:
                check_plugins(output, design.places, design.identity)
            cells = cells_of(design, own, output=output)
        n_tried = _run(cells, ended)
        return _reported(design, output, own=own, outcome=DONE if n_tried else NOTHING)


def _run(cells: Sequence[Cell], ended: Callable[[Sequence[Cell]], Iterable[Ended]]) -> int:
    """Do the cells that are not done with `ended`; return how many were tried."""
    costs = {cell.place: cost(cell) for cell in cells}
    waiting = [cell for cell in cells if costs[cell.place] is None]
    progress = Progress(costs)
    for one in ended(waiting):
        progress.tell(one)
        _note(one.cell, one.failure)
    return len(waiting)


def _note(cell: Cell, failure: Failure | None) -> None:
    """Keep the list of failed cells up to date."""
    with in_turn(cell.output):
        before = _listed(cell.output)
        failures = [one for one in before if one.item != str(cell.place)]
        if failure is not None:
            failures.append(failure)
        if failures != before:
            write_failures(cell.output, failures)


def _listed(output: Path) -> list[Failure]:
    """Cells that failed, in this run or before."""
    path = output / FAILURES
    return [Failure(**row) for row in read_csv(path)] if path.is_file() else []


def _reported(
    design: Design, output: Path, *, outcome: str, own: Sequence[Place] | None = None
) -> BenchmarkResult:
    """Make the tables of the finished cells, one process at a time, so that none are outdated."""
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
    """Write the tables of the finished cells; give them and the failures."""
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


def _cost_at(place: Place, output: Path, design: Design) -> Cost | None:
    """Cost of a cell that is done."""
    return cost_of(place.within(output), place, design.identity)
