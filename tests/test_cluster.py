"""Connecting to dask: what is no scheduler, and who lacks the package."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from gimp_plugin import cluster
from gimp_plugin.errors import ConfigError, ResourceError

pytestmark = [
    pytest.mark.enable_socket,  # dask's own, on this machine
    pytest.mark.filterwarnings("default"),  # dask's own
]


@pytest.mark.parametrize("scheduler", ["local:", "local:x", "local:0", "local:-1"])
def test_a_number_of_processes_that_is_none_is_refused(scheduler):
    with pytest.raises(ConfigError, match="local:N"):
        cluster.check_scheduler(scheduler)


def test_without_dask_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(ResourceError, match=r"pip install 'gimp-plugin\[dask\]'"):
        cluster.check_scheduler("local:2")


def test_workers_of_another_version_are_named(monkeypatch, threads):
    monkeypatch.setattr(cluster, "gimp_plugin", SimpleNamespace(__version__="77"))

    with (
        pytest.raises(ResourceError) as refused,
        cluster.connected(threads.scheduler_address, device="cpu"),
    ):
        pass

    message = str(refused.value)
    has = f"has gimp-plugin {sys.modules['gimp_plugin'].__version__} (and 1 more workers)"
    first = min(one.address for one in threads.workers.values())
    assert f"worker {first!r} of {threads.scheduler_address!r} {has}; here it is 77" in message


def test_workers_without_the_package_are_named(monkeypatch, threads):
    monkeypatch.setitem(sys.modules, "gimp_plugin", None)

    with (
        pytest.raises(ResourceError, match=r"worker .* lacks gimp-plugin: .*start all workers in"),
        cluster.connected(threads.scheduler_address, device="cpu"),
    ):
        pass


def lacking():
    raise ModuleNotFoundError("No module named 'new'")


def test_a_worker_that_comes_later_and_lacks_something_is_not_waited_for(threads):
    with (
        cluster.connected(threads.scheduler_address, device="cpu") as client,
        pytest.raises(ResourceError, match="a worker lacks what it needs: No module named 'new'"),
    ):
        list(cluster.each_ended(client, lacking, {"a": ()}, device="cpu"))


def test_processes_that_are_slow_to_end_are_not_waited_for_without_end(monkeypatch):
    killed = []

    class Busy:
        workers: ClassVar = {0: SimpleNamespace(pid=-5, auto_restart=True)}

        def close(self, timeout=None):
            assert 0 < timeout <= 60
            raise TimeoutError

    monkeypatch.setattr("os.kill", lambda pid, number: killed.append((pid, int(number))))

    cluster._end(Busy(), at_once=False)

    assert killed == [(-5, 9)]
    assert not Busy.workers[0].auto_restart


def test_a_worker_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr(cluster, "CLOSE_S", 1.0)
    stopped = []

    with cluster.connected("local:1", device="cpu") as client:
        (worker,) = client.run(os.getpid).values()
        os.kill(worker, signal.SIGSTOP)  # it neither answers nor ends
        stopped.append(worker)

    deadline = time.monotonic() + 20
    while Path(f"/proc/{stopped[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{stopped[0]}").exists()


ORDER: list[str] = []


def work(name):
    ORDER.append(f"{name} begins")
    if name == "bad":
        raise ValueError(name)
    ORDER.append(f"{name} ends")
    return name.upper()


def test_a_task_begins_when_those_that_it_needs_have_ended_well_or_not(threads):
    ORDER.clear()
    needs = {"last": ["bad", "middle"], "middle": ["first", "not a task"]}
    tasks = {name: (name,) for name in ("last", "middle", "bad", "first")}

    with cluster.connected(threads.scheduler_address, device="cpu") as client:
        ended = {
            name: str(one.exception()) if one.exception() else one.result()
            for name, one in cluster.each_ended(client, work, tasks, device="cpu", needs=needs)
        }

    assert ended == {"bad": "bad", "first": "FIRST", "middle": "MIDDLE", "last": "LAST"}
    for before, after in (
        ("first ends", "middle"),
        ("middle ends", "last"),
        ("bad begins", "last"),
    ):
        assert ORDER.index(before) < ORDER.index(f"{after} begins")
