"""Do one cell: train its method, and record the cost or the failure."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from gimp_plugin.assembly.device import device_of
from gimp_plugin.errors import LockedError, SafetyError
from gimp_plugin.storage.atomic import clean_partials
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.tables import Failure
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.folder import Cost, Place, cost_of, seal
from gimp_plugin.studies.benchmark.memory import Watch
from gimp_plugin.studies.benchmark.methods import method_of

logger = logging.getLogger(__name__)

STAGE = "benchmark"


class Ended(NamedTuple):
    """A cell that was tried.

    Parameters
    ----------
    cell
        The cell.
    failure
        Why it failed; None if it is done.
    seconds
        Time that it took.
    n_hands
        Number of cells that are done at a time.
    """

    cell: Cell
    failure: Failure | None
    seconds: float
    n_hands: int = 1


def here(cells: Sequence[Cell]) -> Iterator[Ended]:
    """Do cells in this process, one after the other.

    Parameters
    ----------
    cells
        The cells, each after those that it needs.

    Yields
    ------
    Each cell that was tried.
    """
    for cell in cells:
        started = time.monotonic()
        failure = do(cell)
        yield Ended(cell, failure, time.monotonic() - started)


def do(cell: Cell) -> Failure | None:
    """Do one cell, unless it is done.

    Parameters
    ----------
    cell
        The cell. If another process, such as a worker of an earlier command, is doing it, wait.

    Returns
    -------
    The failure, if it failed.

    Raises
    ------
    SafetyError
        If a file is unsafe, which stops everything.
    """
    with _alone(cell):
        if cost(cell) is not None:
            return None
        clean_partials(cell.folder)
        cell.predictions.unlink(missing_ok=True)  # a cell that is not done has no table
        watch = Watch(device_of(cell.runtime))
        try:
            took = method_of(cell.place.method).train(cell)
        except SafetyError:
            raise
        except Exception as error:  # other methods go on
            logger.debug("%s", cell.place, exc_info=True)
            return failed(cell.place, type(error).__name__, str(error))
        took = took.with_peaks(watch.memory, watch.gpu_memory)
        seal(cell.folder, cell.place, cell.identity, took)
    return None


def failed(place: Place, kind: str, message: str) -> Failure:
    """Give the failure of a cell, with its message on one line."""
    return Failure(str(place), STAGE, kind, " ".join(message.split()))


def cost(cell: Cell) -> Cost | None:
    """Cost of a finished cell; None if it is not done."""
    return cost_of(cell.folder, cell.place, cell.identity)


@contextmanager
def _alone(cell: Cell) -> Iterator[None]:
    """Lock a cell; wait if another process has it."""
    lock = cell.folder / ".lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(held(lock))
        except LockedError:
            logger.info("%s: another process is working on it; waiting", cell.place)
            stack.enter_context(held(lock, wait=True))
        yield
