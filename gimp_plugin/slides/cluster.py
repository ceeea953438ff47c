"""Slides on many machines: a task a slide on dask.distributed.

A task can be done twice without harm: bags that are there are kept, and a slide is made under its
lock. So a worker may die at any time; its slide goes to another.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import ConfigError, ResourceError, SlideError
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
    from distributed import Client, LocalCluster

    from gimp_plugin.slides.making import BagMaker

LOCAL = "local:"
CLIENT = {"timeout": 10, "set_as_default": False}
GPU = {"GPU": 1}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one slide: patches of its bag, None for one that was there, or a failure."""

    n_patches: int | None = None
    failure: Failure | None = None


def make_bags(slides: Sequence[SlideFile], job: Job, ledger: Ledger, *, scheduler: str) -> None:
    """Make the bags of slides on the workers of a scheduler.

    Parameters
    ----------
    slides
        Those that lack a bag.
    job
        What to do with them; workers must reach slides and output under the same paths.
    ledger
        Where it is noted what became of each.
    scheduler
        Address of a scheduler, its file, or `local:N` for N processes on this machine.

    Raises
    ------
    ResourceError
        If there is no scheduler, or dask.distributed is not installed.
    """
    from distributed import KilledWorker, as_completed

    far = replace(job, config=_with_absolute_paths(job.config), output=job.output.absolute())
    with _connected(scheduler, job) as client:
        wanted = GPU if job.runtime.device.startswith("cuda") else {}
        futures = {}
        for slide in slides:
            there = replace(slide, path=slide.path.absolute())
            task = client.submit(
                make_bag, far, there, ledger.status.since, pure=False, resources=wanted
            )
            futures[task] = slide
        ended = as_completed(futures, loop=client.loop)  # type: ignore[no-untyped-call]  # it has no types
        for task in ended:
            slide = futures[task]
            try:
                _settle(slide, task.result(), ledger, masks=job.config.masks)
            except KilledWorker as error:
                problem = f"{str(slide.path)!r} ended every worker that tried it"
                hint = "out of memory? see the workers' logs"
                ledger.fail(slide, SlideError(f"{problem}: {error}", hint=hint))


def make_bag(job: Job, slide: SlideFile, since: int) -> Outcome:
    """Make the bag of one slide: what a worker does.

    Parameters
    ----------
    job
        What to do.
    slide
        The slide.
    since
        Size of the folder's log when the work began.

    Returns
    -------
    What became of it.
    """
    with _worker.lock:
        maker = _worker.maker(job)
        ledger = Ledger(Status(job.output, since=since), n_slides=1)
        turns.make_bags([slide], maker, ledger)
    if ledger.failures:
        return Outcome(failure=ledger.failures[0])
    return Outcome(ledger.done.get(slide.slide_id))


def _with_absolute_paths(config: ExtractionConfig) -> ExtractionConfig:
    """Name files so that a worker in another folder finds them."""
    weights, masks = (
        path and str(Path(path).absolute()) for path in (config.weights, config.masks)
    )
    return replace(config, weights=weights, masks=masks)


class _Worker:
    """Readers and network of the last job: they stay from one task to the next."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # a worker may have several threads; the device is one
        self._job: Job | None = None
        self._maker: BagMaker | None = None
        self._resources = ExitStack()
        atexit.register(self._resources.close)
        logging.getLogger("gimp_plugin").addHandler(logging.NullHandler())  # told where it is asked

    def maker(self, job: Job) -> BagMaker:
        """Give what makes bags for a job."""
        if self._maker is None or job != self._job:
            self._resources.close()
            encoder = find_encoder(job.config, offline=job.options.offline)
            readers = self._resources.enter_context(SlideReaders())
            here = replace(job, runtime=replace(job.runtime, device=_own_device(job)))
            folder = bag_folder(job, encoder)
            self._maker = bag_maker(here, encoder, folder=folder, readers=readers)
            self._job = job
        return self._maker


_worker = _Worker()


def _own_device(job: Job) -> str:
    """Device of this worker: each of a machine's workers takes another GPU."""
    import torch
    from distributed import get_worker

    device, count = job.runtime.device, torch.cuda.device_count()
    name = get_worker().name
    if device in {"auto", "cuda"} and count > 1 and isinstance(name, int):
        return f"cuda:{name % count}"
    return device


def _settle(slide: SlideFile, outcome: Outcome, ledger: Ledger, *, masks: str) -> None:
    """Enter the outcome of a task; paths are as the user gave them."""
    if outcome.failure is not None:
        message = as_given(outcome.failure.message, str(slide.path), masks)
        ledger.take(Failure(**asdict(outcome.failure) | {"message": message}))
    elif outcome.n_patches is None:
        ledger.keep(slide)
    else:
        ledger.count(slide, outcome.n_patches)


@contextmanager
def _connected(scheduler: str, job: Job) -> Iterator[Client]:
    """Connect to a scheduler, or start one with its workers."""
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.WARNING)  # else it tells of every connection
    with ExitStack() as stack:
        where: dict[str, Any] = {"address": scheduler}
        if scheduler.startswith(LOCAL):
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=_number(scheduler), threads_per_worker=1, memory_limit=0,
                dashboard_address=None, resources=GPU if _cuda(job) else {},
                env={"OMP_NUM_THREADS": _threads(_number(scheduler))},
            )  # fmt: skip
            stack.push(lambda *error: _end(cluster, job.output, at_once=error[0] is not None))
            where = {"address": cluster}
        elif Path(scheduler).exists():
            where = {"scheduler_file": scheduler}
        try:
            client = Client(**where, **CLIENT)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            problem = f"no scheduler at {scheduler!r}: {error}"
            hint = "give its address (tcp://host:8786), its file, or local:N"
            raise ResourceError(problem, hint=hint) from error
        yield stack.enter_context(client)


def _end(cluster: LocalCluster, output: Path, *, at_once: bool) -> None:
    """End a cluster of this machine; its own way would wait for tasks that are under way."""
    for nanny in cluster.workers.values() if at_once else ():
        nanny.auto_restart = False
        if nanny.pid:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)
    cluster.close()
    clean_partials(output)


def check_scheduler(scheduler: str) -> None:
    """Refuse what cannot be a scheduler before any work.

    Parameters
    ----------
    scheduler
        Address, file or `local:N`.

    Raises
    ------
    ConfigError
        If N is no number.
    ResourceError
        If dask.distributed is not installed.
    """
    try:
        import distributed  # noqa: F401  # only whether it is there
    except ImportError as error:
        problem = "--scheduler needs dask.distributed"
        raise ResourceError(problem, hint="pip install 'gimp-plugin[dask]'") from error
    if scheduler.startswith(LOCAL):
        _number(scheduler)


def _number(scheduler: str) -> int:
    """N of `local:N`."""
    text = scheduler.removeprefix(LOCAL)
    if not text.isdecimal() or int(text) < 1:
        problem = f"--scheduler {scheduler!r}: expected {LOCAL}N with the number of processes"
        raise ConfigError(problem, hint=f"for instance {LOCAL}{os.cpu_count()}")
    return int(text)


def _threads(n_processes: int) -> str:
    """Threads of each process's encoder: dask gives one, and leaves the other cores idle."""
    n_cores = len(os.sched_getaffinity(0))
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, n_cores // n_processes))


def _cuda(job: Job) -> bool:
    """Whether this machine's GPUs are to be used."""
    import torch

    return job.runtime.device != "cpu" and torch.cuda.is_available()
