"""The extraction's side of reading slides in other processes, batch by batch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import ResourceError, SlideError
from gimp_plugin.slides import wire
from gimp_plugin.slides.patches import Share, bad_patch_error
from gimp_plugin.slides.plan import ReadRequest, SlidePlan
from gimp_plugin.slides.process import Job, dead_readers
from gimp_plugin.slides.tissue import NoTissueError, TissueMaskError

SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Readers fork, which is safe without threads, and the cores belong to the encoder."""

ERRORS = {error.__name__: error for error in (SlideError, NoTissueError, TissueMaskError)}


class KilledReaderError(SlideError):
    """A reader was killed from outside, most likely because memory ran out."""


class SlideReaders:
    """Separate processes that read slides.

    As a context manager it ends them all. Processes forked from this one may use it, too.
    """

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._owner = os.getpid()
        self._ready = False
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gimp_plugin.slides.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | SINGLE_THREAD,
                start_new_session=True,  # keeps Ctrl-C to the extraction, which ends them
            )

    def __enter__(self) -> Self:
        """Return the readers."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the processes."""
        self.close()

    def read(self, request: ReadRequest, *, timeout_s: float, n_readers: int = 1) -> Reading:
        """Start reading a slide in the background.

        Parameters
        ----------
        request
            What to read.
        timeout_s
            Longest total time that this process waits for the result.
        n_readers
            Largest number of processes that read it in parallel.

        Returns
        -------
        The slide being read.

        Raises
        ------
        ResourceError
            If the processes have ended.
        """
        return Reading(self.start, request, timeout_s=timeout_s, n_readers=n_readers)

    def start(self, message: Mapping[str, Any], array: NDArray[Any] | None = None) -> Job:
        """Start a process that does a job.

        Parameters
        ----------
        message, array
            Description of the job.

        Returns
        -------
        The running job.

        Raises
        ------
        ResourceError
            If the processes have ended.
        """
        self.wait_until_ready()
        ours, theirs = socket.socketpair()
        status, status_theirs = os.pipe()
        job = Job(ours, status)
        try:
            with theirs:
                socket.send_fds(self._control, [b"j"], [theirs.fileno(), status_theirs])
            wire.send(ours, message, array)
        except (BrokenPipeError, ConnectionResetError) as error:
            job.close()
            raise dead_readers() from error
        finally:
            os.close(status_theirs)
        return job

    def wait_until_ready(self) -> None:
        """Wait until the readers are imported, which takes seconds, but only once.

        Raises
        ------
        ResourceError
            If they cannot be imported.
        """
        if not self._ready and not self._control.recv(1):
            raise dead_readers()
        self._ready = True

    def close(self) -> None:
        """End the processes; in a fork of the process that started them, only disconnect."""
        self._control.close()
        if os.getpid() == self._owner:
            self._process.kill()  # also ends a stopped process
            self._process.wait()


class Reading:
    """One slide that is being read in other processes.

    Parameters
    ----------
    start
        Starts a process with a job.
    request
        What to read.
    timeout_s
        Longest total time that this process waits.
    n_readers
        Largest number of processes that read in parallel; the first one makes the plan.
    """

    def __init__(
        self,
        start: Callable[[Mapping[str, Any], NDArray[Any] | None], Job],
        request: ReadRequest,
        *,
        timeout_s: float,
        n_readers: int,
    ) -> None:
        self._start = start
        self._request = request
        self._path = request.path
        self._patience = wire.Patience(timeout_s)
        self._timeout_s = timeout_s
        self._n_readers = n_readers
        self._jobs = [start(self._job(0), None)]

    def plan(self) -> SlidePlan:
        """Wait for the plan.

        Returns
        -------
        The plan.
        """
        message, coords = self._receive(self._jobs[0])
        if coords is None:
            raise dead_readers()
        thumbnail = self._receive(self._jobs[0])[1] if self._request.thumbnail_px else None
        return SlidePlan.from_message(message["plan"], coords, thumbnail=thumbnail)

    def batches(
        self, plan: SlidePlan, *, allocate: wire.Allocate = np.empty
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint8]]]:
        """Wait for the patches, batch by batch.

        Parameters
        ----------
        plan
            Result of `plan`.
        allocate
            Allocates memory for the pixels of a batch.

        Yields
        ------
        Coordinates and pixels of the readable patches of a batch.

        Raises
        ------
        SlideError
            If more patches than allowed could not be read.
        """
        size, n_bad, reason = self._request.batch_size, 0, ""
        starts = range(0, len(plan.coords), size)
        told = {"plan": plan.to_message()}
        for first in range(1, min(self._n_readers, len(starts))):
            self._jobs.append(self._start(self._job(first) | told, plan.coords))
        for number, start in enumerate(starts):
            job = self._jobs[number % len(self._jobs)]
            message, patches = self._receive(job, allocate=allocate)
            if patches is None:
                raise dead_readers()
            coords, bad = plan.coords[start : start + size], message["bad"]
            n_bad, reason = n_bad + len(bad), reason or message["reason"]
            if n_bad > self._request.max_bad(len(plan.coords)):
                problem = f"{self._path!r}: {reason}"
                raise bad_patch_error(problem, n_bad=n_bad, n_patches=len(plan.coords))
            yield np.delete(coords, bad, axis=0) if bad else coords, patches

    def close(self) -> None:
        """End the reading, finished or not."""
        for job in self._jobs:
            job.close()

    def _job(self, first: int) -> dict[str, Any]:
        """Job of one of the processes."""
        share = Share(first, self._n_readers)
        return {"request": asdict(self._request), "share": asdict(share)}

    def _receive(
        self, job: Job, *, allocate: wire.Allocate = np.empty
    ) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """Wait for a message; raise an error from the other end."""
        try:
            message, array = wire.receive(job.connection, self._patience, allocate=allocate)
        except TimeoutError as error:
            problem = f"{self._path!r} was not read within {self._timeout_s:g} s"
            raise SlideError(
                problem, hint="is it damaged? otherwise raise --slide-timeout"
            ) from error
        except EOFError as error:
            raise self._death(job) from error
        if "error" in message:
            told = message["error"]
            problem = told["problem"]
            if self._path not in problem:
                problem = f"{self._path!r}: {problem}"
            raise ERRORS.get(told["kind"], SlideError)(problem, hint=told["hint"])
        return message, array

    def _death(self, job: Job) -> SlideError | ResourceError:
        """Error for a process that ended without a message."""
        code = job.exit_code()
        if code is None:
            return dead_readers()
        if code == -signal.SIGKILL:
            problem = f"a reader of {self._path!r} was killed ({_signal_name(-code)})"
            return KilledReaderError(problem, hint="out of memory? otherwise lower --num-workers")
        how = f"crashed the decoder ({_signal_name(-code)})" if code < 0 else "made the reader fail"
        return SlideError(
            f"{self._path!r} {how}", hint="it may be damaged: copy or download it again"
        )


def _signal_name(number: int) -> str:
    """Number and name of a signal."""
    return f"signal {number}, {signal.Signals(number).name}"
