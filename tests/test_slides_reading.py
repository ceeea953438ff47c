"""Slides are read in other processes: what happens there, and what does not happen here."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

from gimp_plugin.errors import ResourceError, SlideError
from gimp_plugin.slides import worker
from gimp_plugin.slides.process import Job
from gimp_plugin.slides.reading import Reading, SlideReaders
from gimp_plugin.slides.tissue import NoTissueError
from tests.slide_factory import make_slide
from tests.slide_readers import shared_readers
from tests.test_slides_plan import plan_and_pixels, request

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@pytest.fixture(scope="module")
def readers():
    return shared_readers()


def read(readers, path, **changes):
    with closing(readers.read(request(path, **changes), timeout_s=60)) as reading:
        plan = reading.plan()
        batches = list(reading.batches(plan))
    return plan, batches


def test_the_patches_are_those_read_here(readers, tmp_path):
    make_slide(tmp_path / "a.svs")
    here, pixels = plan_and_pixels(tmp_path / "a.svs")

    there, batches = read(readers, tmp_path / "a.svs")

    np.testing.assert_array_equal(there.coords, here.coords)
    np.testing.assert_array_equal(np.concatenate([coords for coords, _ in batches]), here.coords)
    np.testing.assert_array_equal(np.concatenate([patches for _, patches in batches]), pixels)
    assert {len(patches) for _, patches in batches[:-1]} == {5}


def test_errors_come_over_by_name(readers, tmp_path):
    make_slide(tmp_path / "blank.svs", tissue=[])
    make_slide(tmp_path / "bare.svs", mpp=None)

    with pytest.raises(NoTissueError, match=r"blank\.svs.*no tissue found"):
        read(readers, tmp_path / "blank.svs")
    with pytest.raises(SlideError, match=r"bare\.svs.*no microns per pixel") as caught:
        read(readers, tmp_path / "bare.svs")
    assert "--slide-mpp" in caught.value.hint


def test_what_a_decoder_raises_comes_over_as_the_slides_fault():
    def broken(connection):
        worker.wire.receive = lambda *_: ({"request": {}, "share": {}}, None)
        worker.ReadRequest = lambda **_: 1 / 0
        serve(connection)

    serve = worker.serve
    reading, supervisor = scripted(broken)

    with closing(reading), pytest.raises(SlideError, match="cannot be read: ZeroDivisionError"):
        reading.plan()

    os.waitpid(supervisor, 0)


def test_a_truncated_slide_is_told_before_it_is_opened(readers, tmp_path):
    make_slide(tmp_path / "a.svs")
    os.truncate(tmp_path / "a.svs", 10_000)

    with pytest.raises(SlideError, match="truncated or incomplete: it has 10000 bytes"):
        read(readers, tmp_path / "a.svs")


def test_a_reading_that_takes_too_long_is_given_up(readers, tmp_path):
    make_slide(tmp_path / "a.svs")

    reading = readers.read(request(tmp_path / "a.svs"), timeout_s=0.001)

    with closing(reading), pytest.raises(SlideError, match=r"not read within 0\.001 s"):
        reading.plan()


def scripted(serve, timeout_s=30.0):
    """A reading whose other end runs `serve` in a supervised process."""
    ours, theirs = socket.socketpair()
    status, status_theirs = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        ours.close()
        os.close(status)
        faulthandler.disable()
        worker.serve = serve
        worker._supervise(theirs.detach(), status_theirs)
        os._exit(0)
    theirs.close()
    os.close(status_theirs)
    job = Job(ours, status)
    reading = Reading(lambda *_: job, request("a.svs"), timeout_s=timeout_s, n_readers=1)
    return reading, supervisor


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (lambda _: os.abort(), r"'a\.svs' crashed the decoder \(signal 6, SIGABRT\)"),
        (lambda _: os.kill(os.getpid(), signal.SIGSEGV), r"signal 11, SIGSEGV"),
        (lambda _: sys.exit(3), "made the reader fail"),
    ],
)
def test_a_decoder_that_dies_fails_its_slide_alone(serve, message, capfd):
    reading, supervisor = scripted(serve)

    with closing(reading), pytest.raises(SlideError, match=message):
        reading.plan()

    assert os.waitpid(supervisor, 0)[1] == 0


def test_a_reading_that_is_closed_ends_its_process():
    reading, supervisor = scripted(lambda _: time.sleep(600))

    reading.close()

    assert os.waitpid(supervisor, 0)[1] == 0  # at once, and its child before it


def test_a_slide_that_needs_too_much_memory_is_told():
    def hungry(connection):
        worker.wire.receive = lambda *_: ({}, None)
        worker._read = lambda *_: bytearray(1 << 60)
        worker_serve(connection)

    worker_serve = worker.serve
    reading, supervisor = scripted(hungry)

    with closing(reading), pytest.raises(SlideError, match="needs more than 4 GiB"):
        reading.plan()

    os.waitpid(supervisor, 0)


def test_readers_that_cannot_start_are_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with SlideReaders() as readers, pytest.raises(ResourceError, match="has ended"):
        readers.wait_until_ready()


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_no_process_is_left_behind(tmp_path, stopped):
    make_slide(tmp_path / "a.svs")
    readers = SlideReaders()
    reading = readers.read(request(tmp_path / "a.svs"), timeout_s=60)
    reading.plan()
    session = readers._process.pid

    if stopped:
        os.kill(session, signal.SIGSTOP)
    reading.close()
    readers.close()

    deadline = time.monotonic() + 5
    while processes_of(session) and time.monotonic() < deadline:
        os.sched_yield()
    assert processes_of(session) == []


def processes_of(session):
    """Processes of a session that are still running."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return [line for line in listing.stdout.splitlines() if " Z" not in line]
