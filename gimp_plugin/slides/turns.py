"""Process slides in turn, sharing them with other processes that use the folder of bags.

While one slide is encoded, the next is opened and read. A slide that another process holds is left
to it and checked again at the end, so that processes with the same slides share them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gimp_plugin.errors import BagError, LockedError, SlideError, StaleOutputError
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.ledger import Ledger
from gimp_plugin.slides.reading import KilledReaderError

if TYPE_CHECKING:
    from gimp_plugin.slides.making import BagMaker, StartedSlide

logger = logging.getLogger(__name__)

WAIT_S = 0.5


def make_bags(slides: Sequence[SlideFile], maker: BagMaker, ledger: Ledger) -> None:
    """Make the bags of slides, one after another.

    Parameters
    ----------
    slides
        Slides without a bag.
    maker
        Maker of bags.
    ledger
        Records the outcome of each slide.
    """
    turns = _Turns(maker, ledger)
    with turns.open:
        for started in _one_ahead(turns.start(slides)):
            turns.finish(started)
        for slide in turns.busy:
            logger.info("%s: another process is working on it, waiting", slide.slide_id)
        while turns.busy:
            waiting, turns.busy = turns.busy, []
            for started in turns.start(waiting):
                turns.finish(started)
            time.sleep(WAIT_S if turns.busy else 0)


class _Turns:
    """Slides in progress here, and slides that other processes hold."""

    def __init__(self, maker: BagMaker, ledger: Ledger) -> None:
        self.open = ExitStack()
        self.busy: list[SlideFile] = []
        self._maker = maker
        self._ledger = ledger

    def start(self, slides: Iterable[SlideFile]) -> Iterator[StartedSlide]:
        """Start the slides that no other process holds, one by one."""
        for slide in slides:
            started = self._start(slide)
            if started is not None:
                yield started

    def finish(self, started: StartedSlide) -> None:
        """Make one bag or note the failure; after a killed reader, try again with one reader."""
        slide = started.slide
        try:
            made = self._maker.finish(started)
        except KilledReaderError as error:
            if started.n_readers == 1:
                self._fail(slide, error)
                return
            logger.warning("%s: %s; trying again with one reader", slide.slide_id, error.problem)
            again = self._start(slide, n_readers=1)
            if again is not None:
                self.finish(again)
        except (SlideError, BagError) as error:
            self._fail(slide, error)
        else:
            self._ledger.finish(slide, made)

    def _start(self, slide: SlideFile, *, n_readers: int = 0) -> StartedSlide | None:
        """Start a slide; None if there is nothing to do, or nothing yet."""
        failure = self._ledger.status.failed(slide.slide_id, attempt=self._maker.attempt(slide))
        if failure is not None:
            self._ledger.take(failure)
            return None
        try:
            started = self._maker.start(slide, n_readers=n_readers)
        except LockedError:
            self.busy.append(slide)
        except (SlideError, StaleOutputError) as error:
            self._fail(slide, error)
        else:
            if started is None:
                self._ledger.keep(slide)
                return None
            self.open.push(started.resources)
            self._ledger.start(slide)
            return started
        return None

    def _fail(self, slide: SlideFile, error: SlideError | BagError | StaleOutputError) -> None:
        """Note that a slide failed."""
        self._ledger.fail(slide, error, attempt=self._maker.attempt(slide))


def _one_ahead(slides: Iterator[StartedSlide]) -> Iterator[StartedSlide]:
    """Draw each slide while the previous one is in use, so that it is read meanwhile."""
    held: deque[StartedSlide] = deque()
    for slide in slides:
        held.append(slide)
        if len(held) > 1:
            yield held.popleft()
    yield from held
