"""Extraction on many machines: one task per slide on dask.distributed.

A task can safely run twice, because existing bags are kept and a slide is locked while its bag is
made. So a worker may die at any time; its slide goes to another worker.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin.cluster import connected, each_ended, own_device
from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import SlideError
from gimp_plugin.slides import turns
from gimp_plugin.slides.encoders import find_encoder
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.jobs import Job, bag_folder, bag_maker
from gimp_plugin.slides.ledger import Ledger, as_given
from gimp_plugin.slides.reading import SlideReaders
from gimp_plugin.slides.status import Status
from gimp_plugin.storage.atomic import clean_partials
from gimp_plugin.storage.tables import Failure

if TYPE_CHECKING:
    from gimp_plugin.slides.making import BagMaker


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one slide: the patches of its bag, None for an existing bag, or a failure."""

    n_patches: int | None = None
    failure: Failure | None = None


def make_bags(slides: Sequence[SlideFile], job: Job, ledger: Ledger, *, scheduler: str) -> None:
    """Make the bags of slides on the workers of a scheduler.

    Parameters
    ----------
    slides
        Slides without a bag.
    job
        The extraction; workers must reach slides and output under the same paths.
    ledger
        Records the outcome of each slide.
    scheduler
        Address of a scheduler, its file, or `local:N` for N processes on this machine.

    Raises
    ------
    ResourceError
        If there is no scheduler, or if it or a worker lacks this package.
    """
    from distributed import KilledWorker

    far = replace(job, config=_with_absolute_paths(job.config), output=job.output.absolute())
    tasks = {
        slide: (far, replace(slide, path=slide.path.absolute()), ledger.status.since)
        for slide in slides
    }
    device = job.runtime.device
    with ExitStack() as stack:
        stack.callback(clean_partials, job.output)
        client = stack.enter_context(connected(scheduler, device=device))
        for slide, task in each_ended(client, make_bag, tasks, device=device):
            try:
                _settle(slide, task.result(), ledger, masks=job.config.masks)
            except KilledWorker as error:
                problem = f"every worker that tried {str(slide.path)!r} died"
                hint = "out of memory? see the workers' logs"
                ledger.fail(slide, SlideError(f"{problem}: {error}", hint=hint))


def make_bag(job: Job, slide: SlideFile, since: int) -> Outcome:
    """Make the bag of one slide on a worker.

    Parameters
    ----------
    job
        The extraction.
    slide
        The slide.
    since
        Size of the folder's log when the work began.

    Returns
    -------
    The outcome.
    """
    with _worker.lock:
        maker = _worker.maker(job)
        ledger = Ledger(Status(job.output, since=since), n_slides=1)
        turns.make_bags([slide], maker, ledger)
    if ledger.failures:
        return Outcome(failure=ledger.failures[0])
    return Outcome(ledger.done.get(slide.slide_id))


def _with_absolute_paths(config: ExtractionConfig) -> ExtractionConfig:
    """Make paths absolute, so that a worker in another folder finds the files."""
    weights, masks = (
        path and str(Path(path).absolute()) for path in (config.weights, config.masks)
    )
    return replace(config, weights=weights, masks=masks)


class _Worker:
    """Readers and network of the last job, kept from one task to the next."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # threads of a worker share one device
        self._job: Job | None = None
        self._maker: BagMaker | None = None
        self._resources = ExitStack()
        atexit.register(self._resources.close)
        logging.getLogger("gimp_plugin").addHandler(logging.NullHandler())  # the client reports

    def maker(self, job: Job) -> BagMaker:
        """Return the maker of bags for a job."""
        if self._maker is None or job != self._job:
            self._resources.close()
            encoder = find_encoder(job.config, offline=job.options.offline)
            readers = self._resources.enter_context(SlideReaders())
            device = own_device(job.runtime.device)
            here = replace(job, runtime=replace(job.runtime, device=device))
            folder = bag_folder(job, encoder)
            self._maker = bag_maker(here, encoder, folder=folder, readers=readers)
            self._job = job
        return self._maker


_worker = _Worker()


def _settle(slide: SlideFile, outcome: Outcome, ledger: Ledger, *, masks: str) -> None:
    """Record the outcome of a task, with paths as the user gave them."""
    if outcome.failure is not None:
        message = as_given(outcome.failure.message, str(slide.path), masks)
        ledger.take(Failure(**asdict(outcome.failure) | {"message": message}))
    elif outcome.n_patches is None:
        ledger.keep(slide)
    else:
        ledger.count(slide, outcome.n_patches)
