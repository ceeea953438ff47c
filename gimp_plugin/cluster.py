"""Work on many machines: tasks on dask.distributed.

A task must be safe to run twice: a worker may die at any time, and its task then goes to another.
Tasks pass through the scheduler pickled, so that it does not need this package. A worker that
cannot import something then reports it; left to dask, the worker would die.
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
CLOSE_S = 30.0
CLIENT = {"timeout": 10, "set_as_default": False}
GPU = {"GPU": 1}
ONE_ENVIRONMENT = "start all workers in the environment of this command"

Key = TypeVar("Key")


def check_scheduler(scheduler: str) -> None:
    """Refuse an invalid scheduler before any work.

    Parameters
    ----------
    scheduler
        Address, file or `local:N`.

    Raises
    ------
    ConfigError
        If N is not a positive integer.
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
        with the block, immediately if it raises an error.
    device
        Device that the tasks will use, as the user gave it.

    Yields
    ------
    A client.

    Raises
    ------
    ResourceError
        If there is no scheduler, or a worker lacks this package or has another version of it.
    """
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.WARNING)  # it would log every connection
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
    """Run tasks on the workers; a task starts when those it needs have ended, even if they failed.

    Parameters
    ----------
    client
        Client from `connected`.
    work
        Function that a worker calls.
    tasks
        Arguments of each call.
    device
        Device of the tasks; `cuda` and `cuda:N` restrict them to workers with the resource `GPU`.
    needs
        Tasks that must end before a task starts; those that are not in `tasks` count as ended.

    Yields
    ------
    Each task, as it ends, with its future: the result, an error, or dask's `KilledWorker` if
    workers died of it even when it ran alone.

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
        if suspects and not running:  # alone, so that a death is the fault of this task
            begin(suspects.pop(0))

    begin_ready()
    tried_again: set[Key] = set()
    for future in ended:
        if future.cancelled():
            problem = "the scheduler is gone, and the state of its workers is unknown"
            raise ResourceError(problem, hint="start it again; the same command then continues")
        key, error = running.pop(future), future.exception()
        if isinstance(error, ImportError):
            raise ResourceError(f"a worker lacks what it needs: {error}", hint=ONE_ENVIRONMENT)
        # dask blames the task that killed a worker and those queued behind it alike.
        if key not in tried_again and isinstance(error, KilledWorker):
            tried_again.add(key)
            suspects.append(key)
        else:
            yield key, future
            unended.discard(key)
        begin_ready()


def own_device(device: str) -> str:
    """Device of this worker: the workers of a machine take its GPUs in turn.

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
    """Function that a worker runs a pickled task with."""

    def call(packed: bytes) -> Any:  # a nested function is pickled by value, not by its name
        import pickle

        work, arguments = pickle.loads(packed)  # noqa: S301  # as dask itself would do
        return work(*arguments)

    return call


def _check_package(client: Client, scheduler: str) -> None:
    """Refuse workers that lack this package or have another version of it."""

    def version() -> str | ImportError:  # pickled by value, too
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
    """End a cluster of this machine.

    `close` by itself would wait for running tasks, and without end for a worker that died and was
    being restarted.
    """
    nannies = list(cluster.workers.values())
    if at_once:
        _kill(nannies)
    try:
        cluster.close(timeout=CLOSE_S)
    except TimeoutError:  # the tasks are done by now
        _kill(nannies)


def _kill(nannies: Iterable[Any]) -> None:
    """Kill the processes of workers and keep them from being restarted."""
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
    """Threads of each process; dask would give one and leave the other cores idle."""
    n_cores = len(os.sched_getaffinity(0))
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, n_cores // n_processes))


def _has_gpu(device: str) -> bool:
    """Whether to use this machine's GPUs."""
    import torch

    return device != "cpu" and torch.cuda.is_available()
