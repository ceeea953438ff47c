"""The processes that read slides: `python -m gimp_plugin.slides.worker FD`.

One process imports the readers once and then forks itself for each slide, in milliseconds. A
decoder that aborts, hangs or exhausts memory ends only its own fork. All of them end when the
extraction does, however it ends.
"""

from __future__ import annotations

import importlib
import logging
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import GimpError, SlideError
from gimp_plugin.slides import wire
from gimp_plugin.slides.patches import Share, read_batches
from gimp_plugin.slides.plan import ReadRequest, SlidePlan, make_plan
from gimp_plugin.slides.sources import Source, open_source
from gimp_plugin.slides.tiff import check_whole
from gimp_plugin.slides.tissue.toolbox import toolbox_masks
from gimp_plugin.slides.viewing import JOB as VIEW
from gimp_plugin.slides.viewing import serve_view

MEMORY_LIMIT = 4 << 30
"""Bytes that reading one slide may use in addition to the imported readers."""

IMPORTS = (
    "numpy",
    "cv2",
    "openslide",
    "torch",
    "tiatoolbox.wsicore.wsireader",
)
JOB_SECONDS = 60.0
GONE = (BrokenPipeError, ConnectionResetError, EOFError, TimeoutError)
"""Exceptions here when the extraction has ended."""


def main(descriptor: int) -> None:
    """Serve until the other end of the control socket is closed.

    Parameters
    ----------
    descriptor
        Descriptor of the control socket. One byte sent on it says that the readers are imported;
        then each job arrives as one byte with a socket and a pipe for the job.
    """
    with _stream(descriptor) as control:
        if not _import_readers(control):
            return
        control.sendall(b"r")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are not waited for
        while True:
            byte, descriptors, *_ = socket.recv_fds(control, 1, 2)
            if not byte:
                return
            if os.fork() == 0:
                control.close()
                _supervise(*descriptors)
                os._exit(0)
            for each in descriptors:
                os.close(each)


def serve(connection: socket.socket) -> None:
    """Read one slide or a share of it, and send the batches, or an error.

    The first reader of a slide makes and sends the plan; the others receive it with their job.

    Parameters
    ----------
    connection
        Socket for the request and the patches.
    """
    job, coords = wire.receive(connection, wire.Patience(JOB_SECONDS))
    connection.settimeout(None)
    try:
        if VIEW in job:
            serve_view(job[VIEW], connection)
        else:
            _read(job, coords, connection)
    except GONE:
        raise
    except MemoryError:
        problem = f"the slide needs more than {MEMORY_LIMIT >> 30} GiB to read"
        _refuse(connection, SlideError(problem, hint="convert it to a pyramidal TIFF"))
    except GimpError as error:
        _refuse(connection, error)
    except Exception as error:  # noqa: BLE001  # a decoder may raise anything on a bad file
        problem = f"the slide cannot be read: {type(error).__name__}: {error}"
        _refuse(
            connection, SlideError(problem, hint="it may be damaged: copy or download it again")
        )


def _refuse(connection: socket.socket, error: GimpError) -> None:
    """Send the extraction the reason why a slide cannot be read."""
    told = {"kind": type(error).__name__, "problem": error.problem, "hint": error.hint}
    wire.send(connection, {"error": told})


def _read(
    job: Mapping[str, Any], coords: NDArray[np.int32] | None, connection: socket.socket
) -> None:
    """Send the plan, if this reader makes it, and the pixels."""
    request, share = ReadRequest(**job["request"]), Share(**job["share"])
    path = Path(request.path)
    if coords is None and path.is_file():
        check_whole(path)
    with ExitStack() as opened:

        def open_again() -> Source:
            opened.close()
            return opened.enter_context(open_source(path))

        source = open_again()
        if coords is None:
            plan = make_plan(source, request)
            _tell(plan, request, connection)
        else:
            plan = SlidePlan.from_message(job["plan"], coords)
        if request.batch_size:
            for batch in read_batches(
                source,
                plan,
                batch_size=request.batch_size,
                share=share,
                max_bad=request.max_bad(len(plan.coords)),
                reopen=open_again,
            ):
                wire.send(connection, {"bad": batch.bad, "reason": batch.reason}, batch.pixels)


def _tell(plan: SlidePlan, request: ReadRequest, connection: socket.socket) -> None:
    """Send a plan, and the picture if it is requested."""
    wire.send(connection, {"plan": plan.to_message()}, plan.coords)
    if request.thumbnail_px:
        wire.send(connection, {}, plan.thumbnail)


def _supervise(connection: int, status: int) -> None:
    """Read a slide in a child; report its exit, and end it if the extraction is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    alive, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(alive)
        os.close(status)
        _serve_and_exit(connection)
    os.close(held)
    os.close(connection)
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.register(status, 0)  # only POLLERR, always reported: the reading end is closed
    if any(descriptor == status for descriptor, _ in poll.poll()):
        os.kill(child, signal.SIGKILL)
    _, code = os.waitpid(child, 0)
    try:
        os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
    except BrokenPipeError:
        return


def _serve_and_exit(descriptor: int) -> None:
    """Serve one job, and end this process without running the parent's clean-up."""
    code = 1
    try:
        _limit_memory()
        with _stream(descriptor) as connection:
            serve(connection)
        code = 0
    except GONE:
        code = 0
    except BaseException:  # noqa: BLE001  # the last stop before the process ends
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _stream(descriptor: int) -> socket.socket:
    """Socket of an inherited descriptor."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)


def _limit_memory() -> None:
    """Limit the further address space of this process, where the system supports it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return


def _import_readers(control: socket.socket) -> bool:
    """Import the readers, which takes seconds; False if the extraction has ended meanwhile."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    poll = select.poll()
    poll.register(control, 0)
    for name in IMPORTS:
        importlib.import_module(name)
        if poll.poll(0):
            return False
    toolbox_masks()
    importlib.import_module("cv2").setNumThreads(1)
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]))
