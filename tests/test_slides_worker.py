"""The process that reads slides, step by step in this one."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest

from gimp_plugin.slides import wire, worker
from gimp_plugin.slides.plan import SlidePlan
from tests.slide_factory import make_slide
from tests.test_slides_plan import plan_and_pixels, request

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def ask(ends, path, **changes):
    """Messages that a reading sends."""
    ours, theirs = ends
    wire.send(ours, wire_request(path, **changes))
    thread = threading.Thread(target=lambda: (worker.serve(theirs), theirs.close()))
    thread.start()
    answers = []
    try:
        while True:
            answers.append(wire.receive(ours, wire.Patience(60)))
    except EOFError:
        thread.join()
    return answers


def wire_request(path, **changes):
    return {"request": asdict(request(path, **changes)), "share": {"first": 0, "n_readers": 1}}


def test_the_plan_comes_first_and_then_the_patches(ends, tmp_path):
    make_slide(tmp_path / "a.svs")
    plan, pixels = plan_and_pixels(tmp_path / "a.svs")

    (first, coords), *batches = ask(ends, tmp_path / "a.svs")

    assert SlidePlan.from_message(first["plan"], None) == replace(plan, coords=None)
    np.testing.assert_array_equal(coords, plan.coords)
    np.testing.assert_array_equal(np.concatenate([patches for _, patches in batches]), pixels)


def test_without_a_batch_size_there_is_the_plan_alone(ends, tmp_path):
    make_slide(tmp_path / "a.svs")

    assert len(ask(ends, tmp_path / "a.svs", batch_size=0)) == 1


def test_a_refusal_is_told_by_kind_problem_and_hint(ends, tmp_path):
    make_slide(tmp_path / "a.svs", mpp=None)

    ((answer, _),) = ask(ends, tmp_path / "a.svs")

    assert answer["error"]["kind"] == "SlideError"
    assert "no microns per pixel" in answer["error"]["problem"]
    assert "--slide-mpp" in answer["error"]["hint"]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemoryError(), "needs more than 4 GiB"),
        (ValueError("odd"), "cannot be read: ValueError: odd"),
    ],
)
def test_whatever_a_decoder_raises_is_told(ends, monkeypatch, error, problem):
    def raises(*_):
        raise error

    monkeypatch.setattr(worker, "_read", raises)

    ((answer, _),) = ask(ends, "a.svs")

    assert problem in answer["error"]["problem"]


def test_an_extraction_that_has_left_is_not_told(ends, monkeypatch):
    def raises(*_):
        raise BrokenPipeError

    monkeypatch.setattr(worker, "_read", raises)
    ours, theirs = ends
    wire.send(ours, wire_request("a.svs"))

    with pytest.raises(BrokenPipeError):
        worker.serve(theirs)


def supervise(monkeypatch, serve):
    """Let `_supervise` run in this process, with a child that does something else."""
    monkeypatch.setattr(worker, "_serve_and_exit", serve)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = socket.socketpair()
    told, status = os.pipe()
    return ours, theirs.detach(), told, status


def test_the_end_of_a_child_is_reported(monkeypatch):
    ours, theirs, told, status = supervise(monkeypatch, lambda _: os._exit(3))

    worker._supervise(theirs, status)

    assert os.read(told, 9) == b"3"
    for descriptor in (told, status):
        os.close(descriptor)
    ours.close()


def test_a_child_is_ended_when_nobody_listens(monkeypatch):
    ours, theirs, told, status = supervise(monkeypatch, lambda _: signal.pause())
    os.close(told)
    children, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])

    worker._supervise(theirs, status)

    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)
    os.close(status)
    ours.close()


class Exited(BaseException):
    """Stands in for the end of a process."""


@pytest.mark.parametrize(
    ("raised", "code"), [(None, 0), (EOFError(), 0), (BrokenPipeError(), 0), (ValueError("bug"), 1)]
)
def test_a_child_ends_without_cleaning_up(monkeypatch, capsys, raised, code):
    def serve(_):
        if raised:
            raise raised

    def end(given):
        raise Exited(given)

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(worker, "serve", serve)
    monkeypatch.setattr(worker, "_limit_memory", lambda: None)
    monkeypatch.setattr(os, "_exit", end)

    with ours, pytest.raises(Exited) as caught:
        worker._serve_and_exit(theirs.detach())

    assert caught.value.args == (code,)
    assert ("bug" in capsys.readouterr().err) is (code == 1)


def test_memory_is_limited_on_top_of_what_is_there(monkeypatch):
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda *arguments: limits.append(arguments))

    worker._limit_memory()

    ((kind, (soft, _)),) = limits
    assert kind == resource.RLIMIT_AS
    assert soft > worker.MEMORY_LIMIT


def test_where_memory_cannot_be_limited_nothing_happens(monkeypatch):
    def refuse(*_):
        raise ValueError("not here")

    monkeypatch.setattr(resource, "setrlimit", refuse)

    worker._limit_memory()


def test_jobs_are_taken_until_nobody_holds_the_socket(monkeypatch, ends):
    ours, theirs = ends
    monkeypatch.setattr(worker, "IMPORTS", ("json",))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    forks = []
    monkeypatch.setattr(os, "fork", lambda: forks.append("job") or 1)
    server = threading.Thread(target=worker.main, args=(theirs.detach(),))
    server.start()

    assert ours.recv(1) == b"r"
    for _ in range(2):
        socket.send_fds(ours, [b"j"], [ours.fileno(), ours.fileno()])
    ours.shutdown(socket.SHUT_RDWR)
    server.join()

    assert forks == ["job", "job"]


def test_an_extraction_that_ends_early_stops_the_imports(monkeypatch, ends):
    ours, theirs = ends
    imported = []
    monkeypatch.setattr(worker, "importlib", type("I", (), {"import_module": imported.append}))
    ours.close()

    worker.main(theirs.detach())

    assert imported == ["numpy"]
