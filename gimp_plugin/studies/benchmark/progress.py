"""Progress of a comparison, for people: one line per cell, with the time left."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from statistics import mean

from gimp_plugin.studies.benchmark.folder import Cost, Place
from gimp_plugin.studies.benchmark.methods import method_of
from gimp_plugin.studies.benchmark.work import Ended

logger = logging.getLogger(__name__)


class Progress:
    """Counts cells and their time.

    Parameters
    ----------
    costs
        Every requested cell, with its cost if it is done.
    """

    def __init__(self, costs: Mapping[Place, Cost | None]) -> None:
        self._n_cells = len(costs)
        self._waiting = [place for place, cost in costs.items() if cost is None]
        self._spent: dict[str, list[float]] = {}
        for place, cost in costs.items():
            if cost is not None:  # with needs, the cost includes theirs
                self._spend(place, 0.0 if method_of(place.method).needs else cost.seconds)
        if self._n_ended:
            logger.info("%d of %d cells are done", self._n_ended, self._n_cells)

    @property
    def _n_ended(self) -> int:
        """Number of cells that are done or were tried."""
        return self._n_cells - len(self._waiting)

    def tell(self, ended: Ended) -> None:
        """Log a cell that was tried, and the time left."""
        place, seconds = ended.cell.place, ended.seconds
        self._waiting.remove(place)
        self._spend(place, seconds)
        left = f", about {_spelled(self._left() / ended.n_hands)} left" if self._waiting else ""
        at = f"[{self._n_ended}/{self._n_cells}] {place}"
        if ended.failure is None:
            logger.info("%s: done in %s%s", at, _spelled(seconds), left)
        else:
            logger.error("%s: failed: %s%s", at, ended.failure.message, left)

    def _spend(self, place: Place, seconds: float) -> None:
        """Add the time of a cell."""
        self._spent.setdefault(place.method, []).append(seconds)

    def _left(self) -> float:
        """Estimate the seconds left from cells of the same method, or else from all cells."""
        every = [seconds for own in self._spent.values() for seconds in own]
        return sum(mean(self._spent.get(place.method) or every) for place in self._waiting)


def _spelled(seconds: float) -> str:
    """Format a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
