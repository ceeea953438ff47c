"""The extraction's side of reading: slides are read in other processes, batch after batch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import ResourceError, SlideError
from gimp_plugin.slides import wire
from gimp_plugin.slides.plan import ReadRequest, SlidePlan
from gimp_plugin.slides.tissue import NoTissueError

SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Readers fork, which is safe without threads, and the cores belong to the encoder."""

ERRORS = {error.__name__: error for error in (SlideError, NoTissueError)}


class SlideReaders:
    """Processes that read slides, apart from this one.

    A context that ends them all. Processes forked from this one may use it too.
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
                start_new_session=True,  # Ctrl-C is for the extraction, which ends them in order
            )

    def __enter__(self) -> Self:
        """Give the readers."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the processes."""
        self.close()

    def read(self, request: ReadRequest, *, timeout_s: float) -> Reading:
        """Start reading a slide; it goes on beside whatever is done next.

        Parameters
        ----------
        request
            What to read.
        timeout_s
            How long the result may keep this process waiting, in total.

        Returns
        -------
        The slide being read.

        Raises
        ------
        ResourceError
            If the processes have ended.
        """
        self.wait_until_ready()
        ours, theirs = socket.socketpair()
        status, status_theirs = os.pipe()
        try:
            with theirs:
                socket.send_fds(self._control, [b"j"], [theirs.fileno(), status_theirs])
            wire.send(ours, asdict(request))
        except (BrokenPipeError, ConnectionResetError) as error:
            ours.close()
            os.close(status)
            raise _dead_readers() from error
        finally:
            os.close(status_theirs)
        return Reading(request, ours, status, timeout_s=timeout_s)

    def wait_until_ready(self) -> None:
        """Wait for the readers to be imported, which takes seconds once.

        Raises
        ------
        ResourceError
            If they cannot be imported.
        """
        if not self._ready and not self._control.recv(1):
            raise _dead_readers()
        self._ready = True

    def close(self) -> None:
        """End the processes; a fork of the process that started them only lets go of them."""
        self._control.close()
        if os.getpid() == self._owner:
            self._process.terminate()
            self._process.wait()


class Reading:
    """One slide that is being read in another process.

    Parameters
    ----------
    request
        What is read.
    connection, status
        Where its patches come from, and where the end of its process is told.
    timeout_s
        How long it may keep this process waiting, in total.
    """

    def __init__(
        self, request: ReadRequest, connection: socket.socket, status: int, *, timeout_s: float
    ) -> None:
        self._path = request.path
        self._wants_thumbnail = request.thumbnail_px > 0
        self._connection = connection
        self._status: int | None = status
        self._patience = wire.Patience(timeout_s)
        self._timeout_s = timeout_s

    def plan(self) -> SlidePlan:
        """Wait for the plan: what will be read.

        Returns
        -------
        The plan.
        """
        message, coords = self._receive()
        if coords is None:
            raise _dead_readers()
        thumbnail = self._receive()[1] if self._wants_thumbnail else None
        return SlidePlan.from_message(message["plan"], coords, thumbnail=thumbnail)

    def batches(self, plan: SlidePlan) -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint8]]]:
        """Wait for the patches, batch after batch.

        Parameters
        ----------
        plan
            What `plan` gave.

        Yields
        ------
        Coordinates and pixels of some patches.
        """
        done = 0
        while done < len(plan.coords):
            _, patches = self._receive()
            if patches is None:
                raise _dead_readers()
            yield plan.coords[done : done + len(patches)], patches
            done += len(patches)

    def close(self) -> None:
        """End the reading, finished or not."""
        self._connection.close()
        if self._status is not None:
            os.close(self._status)
            self._status = None

    def _receive(self) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """Wait for a message; an error at the other end is raised here."""
        try:
            message, array = wire.receive(self._connection, self._patience)
        except TimeoutError as error:
            problem = f"{self._path!r} was not read within {self._timeout_s:g} s"
            raise SlideError(problem, hint="damaged? else raise --slide-timeout") from error
        except EOFError as error:
            raise self._death() from error
        if "error" in message:
            told = message["error"]
            problem = told["problem"]
            if self._path not in problem:
                problem = f"{self._path!r}: {problem}"
            raise ERRORS.get(told["kind"], SlideError)(problem, hint=told["hint"])
        return message, array

    def _death(self) -> SlideError | ResourceError:
        """Error for a reading that ended without a word."""
        told = os.read(self._status, 16) if self._status is not None else b""
        if not told:
            return _dead_readers()
        code = int(told)
        how = f"crashed the decoder ({_signal_name(-code)})" if code < 0 else "made the reader fail"
        return SlideError(f"{self._path!r} {how}", hint="damaged: copy or download it again")


def _signal_name(number: int) -> str:
    """Number and name of a signal."""
    return f"signal {number}, {signal.Signals(number).name}"


def _dead_readers() -> ResourceError:
    """Error for processes that are not there any more."""
    problem = "the process that reads slides has ended"
    hint = "out of memory? else see: python -m gimp_plugin.slides.worker"
    return ResourceError(problem, hint=hint)
