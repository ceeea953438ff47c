"""A comparison with dask.distributed: one task per cell.

Workers get a description of the comparison, not the data: each reads the inputs itself, once, and
refuses if they differ from those of the requesting process. A cell is locked while it is worked on
and kept once it is done, so a worker may die at any time: another worker then resumes its cell
from the checkpoints.
"""

from __future__ import annotations

import logging
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.cluster import each_ended, own_device
from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.data.study import PATHS, with_defaults
from gimp_plugin.errors import GimpError, ResourceError, SafetyError, listed
from gimp_plugin.plugins import split_name
from gimp_plugin.storage.differences import differences
from gimp_plugin.storage.tables import Failure
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.design import cells_of, designed
from gimp_plugin.studies.benchmark.folder import Place, check_current
from gimp_plugin.studies.benchmark.methods import method_of
from gimp_plugin.studies.benchmark.protocol import Protocol
from gimp_plugin.studies.benchmark.work import Ended, cost, do, failed

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

SEEN_S = 90.0
"""Seconds that a network file system may take to show files written by a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Description of a comparison for a worker.

    Parameters
    ----------
    source, config, protocol, runtime, output
        As for `run_benchmark`, with absolute paths.
    identity
        What the comparison is made from, as found by the requesting process.
    """

    source: CohortSource
    config: GimpConfig
    protocol: Protocol
    runtime: Runtime
    output: Path
    identity: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of a cell on a worker.

    Parameters
    ----------
    failure
        The failure, if it failed.
    seconds
        Time that it took.
    warnings
        Warnings that were logged on the worker.
    """

    failure: Failure | None
    seconds: float
    warnings: tuple[str, ...]


def by_workers(cells: Sequence[Cell], job: Job, client: Client) -> Iterator[Ended]:
    """Do cells on the workers of a scheduler; a cell that needs others waits for them.

    Parameters
    ----------
    cells
        Cells that are not done.
    job
        Their comparison.
    client
        Result of `cluster.connected`.

    Yields
    ------
    Each cell as it ends.

    Raises
    ------
    ResourceError
        If a worker cannot take part, or the scheduler is gone.
    SafetyError
        If a file is unsafe.
    """
    from distributed import KilledWorker

    cell_of = {cell.place: cell for cell in cells}
    tasks = {place: (job, place) for place in cell_of}
    needs = {
        place: [replace(place, method=name) for name in method_of(place.method).needs]
        for place in cell_of
    }
    device = job.runtime.device
    for place, task in each_ended(client, do_cell, tasks, device=device, needs=needs):
        try:
            outcome = task.result()
        except KilledWorker as error:
            why = f"every worker that tried it died (out of memory?): {error}"
            outcome = Outcome(failure=failed(place, "KilledWorker", why), seconds=0.0, warnings=())
        for warning in outcome.warnings:
            logger.warning("%s", warning)
        if outcome.failure is None:
            _wait_for(cell_of[place])
        n_hands = max(1, len(client.nthreads()))  # type: ignore[no-untyped-call]  # it has no types
        yield Ended(cell_of[place], outcome.failure, outcome.seconds, n_hands)


def do_cell(job: Job, place: Place) -> Outcome:
    """Do one cell; this is the task of a worker.

    Parameters
    ----------
    job
        The comparison.
    place
        The cell.

    Returns
    -------
    The outcome.

    Raises
    ------
    ResourceError
        If this worker does not see the folder, or finds inputs that differ from those of the
        requesting process.
    SafetyError
        If a file is unsafe.
    """
    started = time.monotonic()
    with _worker.lock, _Listener() as said:
        failure = do(_worker.cell(job, place))
    return Outcome(
        failure=failure, seconds=time.monotonic() - started, warnings=tuple(dict.fromkeys(said))
    )


def with_absolute_paths(
    source: CohortSource, config: GimpConfig
) -> tuple[CohortSource, GimpConfig]:
    """Make paths absolute, so that a worker in another folder finds the files.

    Parameters
    ----------
    source, config
        As the user gave them.

    Returns
    -------
    The same, with absolute paths; results are not affected.
    """
    source = with_defaults(source)
    paths = {name: getattr(source, name) for name in PATHS}
    changes: dict[str, Any] = {name: path.absolute() for name, path in paths.items() if path}
    if source.splits is not None and not source.splits.startswith("obs:"):
        changes["splits"] = str(Path(source.splits).absolute())
    name, argument = split_name(config.model.gene_grouping)
    if Path(argument).is_file():
        config = config.replace({"model.gene_grouping": f"{name}:{Path(argument).absolute()}"})
    return replace(source, **changes), config


class _Worker:
    """The last requested comparison; its inputs are kept from one cell to the next."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # threads of a worker share its device and peak memory
        self._job: Job | None = None
        self._cells: dict[Place, Cell] = {}

    def cell(self, job: Job, place: Place) -> Cell:
        """Give a cell of a comparison; refuse if this worker sees other files or inputs."""
        try:
            check_current(job.output, job.identity)
            if job != self._job:
                self._cells = _cells(job)
                self._job = job
        except SafetyError:
            raise
        except (GimpError, OSError) as error:
            problem = f"a worker on {socket.gethostname()!r} cannot take part: {error}"
            hint = "every worker must reach inputs and output under the same paths"
            raise ResourceError(problem, hint=hint) from error
        return self._cells[place]


_worker = _Worker()


def _cells(job: Job) -> dict[Place, Cell]:
    """Read the inputs of a comparison, and refuse if they differ."""
    device = own_device(job.runtime.device)
    runtime = replace(job.runtime, device=device)
    if multiprocessing.current_process().daemon:  # may not start processes
        runtime = replace(runtime, num_workers=0)
    design = designed(job.source, job.config, job.protocol, runtime=runtime)
    if design.identity != job.identity:
        found = listed(differences(job.identity, design.identity), limit=8)
        raise ResourceError(f"its inputs differ: {found}")
    cells = cells_of(design, design.places, output=job.output)
    return {cell.place: cell for cell in cells}


def _wait_for(cell: Cell) -> None:
    """Wait until the files of a cell that a worker did are visible here."""
    deadline = time.monotonic() + SEEN_S
    while cost(cell) is None:
        if time.monotonic() > deadline:
            problem = f"a worker did {cell.place}, but it is not in {str(cell.output)!r}"
            hint = "every worker must reach the output under the same path"
            raise ResourceError(problem, hint=hint)
        time.sleep(0.5)


class _Listener(logging.Handler):
    """Collects warnings while a cell is done."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Store one message."""
        self._said.append(record.getMessage())

    def __enter__(self) -> list[str]:
        """Start listening to this package; the requesting process logs the messages."""
        logging.getLogger("gimp_plugin").addHandler(self)
        return self._said

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        logging.getLogger("gimp_plugin").removeHandler(self)
