"""Work on many machines: tasks on dask.distributed.

A task must be one that can be done twice without harm: a worker may die at any time, and what it
was at goes to another. Tasks are handed through the scheduler packed, so that it needs nothing of
this package, and a worker that lacks something says what, where dask would let it die of it.
"""

from __future__ import annotations

import logging
import os
import signal
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gimp_plugin
from gimp_plugin.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

logger = logging.getLogger(__name__)

LOCAL = "local:"
CLIENT = {"timeout": 10, "set_as_default": False}
GPU = {"GPU": 1}
ONE_ENVIRONMENT = "start all workers in the environment of this command"

Key = TypeVar("Key")


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


@contextmanager
def connected(scheduler: str, *, device: str) -> Iterator[Client]:
    """Connect to a scheduler, or start one with its workers.

    Parameters
    ----------
    scheduler
        Address of a scheduler, its file, or `local:N` for N processes on this machine. These end
        with the block, at once if it ends by an error.
    device
        What the tasks will compute on, as the user gave it.

    Yields
    ------
    A client.

    Raises
    ------
    ResourceError
        If there is no scheduler, or a worker lacks this package or has another version.
    """
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.WARNING)  # else it tells of every connection
    with ExitStack() as stack:
        where: dict[str, Any] = {"address": scheduler}
        if scheduler.startswith(LOCAL):
            cluster = LocalCluster(  # type: ignore[no-untyped-call]  # it has no types
                n_workers=_number(scheduler), threads_per_worker=1, memory_limit=0,
                dashboard_address=None, resources=GPU if _has_gpu(device) else {},
                env={"OMP_NUM_THREADS": _threads(_number(scheduler))},
            )  # fmt: skip
            stack.push(lambda *error: _end(cluster, at_once=error[0] is not None))
            where = {"address": cluster}
        elif Path(scheduler).exists():
            where = {"scheduler_file": scheduler}
        try:
            client = Client(**where, **CLIENT)  # type: ignore[no-untyped-call]  # it has no types
        except (OSError, ValueError) as error:
            problem = f"no scheduler at {scheduler!r}: {error}"
            hint = "give its address (tcp://host:8786), its file, or local:N"
            raise ResourceError(problem, hint=hint) from error
        stack.enter_context(client)
        _check_package(client, scheduler)
        yield client


def each_ended(
    client: Client,
    work: Callable[..., Any],
    tasks: Mapping[Key, tuple[Any, ...]],
    *,
    device: str,
    needs: Mapping[Key, Collection[Key]] | None = None,
) -> Iterator[tuple[Key, Future[Any]]]:
    """Let the workers do tasks; a task begins when those that it needs have ended, well or not.

    Parameters
    ----------
    client
        What `connected` gave.
    work
        What a worker calls.
    tasks
        Arguments of each call.
    device
        What they compute on; `cuda` and `cuda:N` send them to workers with the resource `GPU` only.
    needs
        Tasks that must have ended before one begins; those that are not in `tasks` count as ended.

    Yields
    ------
    Each task, as it ends, with its future: the result, an error, or dask's `KilledWorker` when
    the workers that tried it died, though it was the only one at last.

    Raises
    ------
    ResourceError
        If the scheduler is gone, or a worker cannot import what it needs.
    """
    from distributed import KilledWorker, as_completed
    from distributed.protocol.pickle import dumps

    wanted = GPU if device.startswith("cuda") else {}
    waiting, unended = dict(tasks), {*tasks}
    running: dict[Future[Any], Key] = {}
    suspects: list[Key] = []
    ended = as_completed(loop=client.loop)  # type: ignore[no-untyped-call]  # it has no types

    def begin(key: Key) -> None:
        name = f"{work.__name__}-{uuid.uuid4()}"
        packed = dumps((work, tasks[key]))  # type: ignore[no-untyped-call]  # it has no types
        future = client.submit(_unpacked(), packed, key=name, resources=wanted)
        running[future] = key
        ended.add(future)  # type: ignore[no-untyped-call]  # it has no types

    def begin_ready() -> None:
        for key in [one for one in waiting if unended.isdisjoint((needs or {}).get(one, ()))]:
            del waiting[key]
            begin(key)
        if suspects and not running:  # whoever dies now has done it
            begin(suspects.pop(0))

    begin_ready()
    tried_again: set[Key] = set()
    for future in ended:
        if future.cancelled():
            problem = "the scheduler is gone, and what its workers were at is unknown"
            raise ResourceError(problem, hint="start it again; the same command then goes on")
        key, error = running.pop(future), future.exception()
        if isinstance(error, ImportError):
            raise ResourceError(f"a worker lacks what it needs: {error}", hint=ONE_ENVIRONMENT)
        # dask blames what a worker died of and what was next there alike.
        if key not in tried_again and isinstance(error, KilledWorker):
            tried_again.add(key)
            suspects.append(key)
        else:
            yield key, future
            unended.discard(key)
        begin_ready()


def own_device(device: str) -> str:
    """Device of this worker: each of a machine's workers takes another GPU.

    Parameters
    ----------
    device
        As the user gave it.

    Returns
    -------
    The device.
    """
    import torch
    from distributed import get_worker

    count, name = torch.cuda.device_count(), get_worker().name
    if device in {"auto", "cuda"} and count > 1 and isinstance(name, int):
        return f"cuda:{name % count}"
    return device


def _unpacked() -> Callable[[bytes], Any]:
    """What a worker does with a packed task."""

    def call(packed: bytes) -> Any:  # a function within a function goes there by its code
        import pickle

        work, arguments = pickle.loads(packed)  # noqa: S301  # as dask itself would do
        return work(*arguments)

    return call


def _check_package(client: Client, scheduler: str) -> None:
    """Refuse workers that lack this package, or have another version of it."""

    def version() -> str | ImportError:  # goes there by its code, too
        try:
            import gimp_plugin
        except ImportError as error:
            return error
        return gimp_plugin.__version__

    found = client.run(version)
    lacking = {name: one for name, one in found.items() if one != gimp_plugin.__version__}
    if lacking:
        name, one = min(lacking.items())
        has = f"has gimp-plugin {one}" if isinstance(one, str) else f"lacks gimp-plugin: {one}"
        others = f" (and {len(lacking) - 1} more workers)" if len(lacking) > 1 else ""
        problem = f"worker {name!r} of {scheduler!r} {has}{others}"
        here = gimp_plugin.__version__
        raise ResourceError(f"{problem}; here it is {here}", hint=ONE_ENVIRONMENT)
    if not found:
        logger.warning("%s has no workers yet; waiting for them", scheduler)


def _end(cluster: LocalCluster, *, at_once: bool) -> None:
    """End a cluster of this machine; its own way would wait for tasks that are under way."""
    nannies = list(cluster.workers.values())
    if at_once:
        _kill(nannies)
    try:
        cluster.close()
    except TimeoutError:  # on a busy machine; all that was to be done is
        _kill(nannies)


def _kill(nannies: Iterable[Any]) -> None:
    """End processes of workers, which are not started again."""
    for nanny in nannies:
        nanny.auto_restart = False
        if nanny.pid:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


def _number(scheduler: str) -> int:
    """N of `local:N`."""
    text = scheduler.removeprefix(LOCAL)
    if not text.isdecimal() or int(text) < 1:
        problem = f"--scheduler {scheduler!r}: expected {LOCAL}N with the number of processes"
        raise ConfigError(problem, hint=f"for instance {LOCAL}{os.cpu_count()}")
    return int(text)


def _threads(n_processes: int) -> str:
    """Threads of each process: dask gives one, and leaves the other cores idle."""
    n_cores = len(os.sched_getaffinity(0))
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, n_cores // n_processes))


def _has_gpu(device: str) -> bool:
    """Whether this machine's GPUs are to be used."""
    import torch

    return device != "cpu" and torch.cuda.is_available()
