"""Extraction on dask: workers share the slides, and one may die."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.cluster import CLIENT
from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.slides import cluster
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.jobs import Job
from gimp_plugin.slides.status import STATUS
from gimp_plugin.storage.tables import read_csv
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.test_slides_extraction import contents

CONFIG = ExtractionConfig(patch_encoder="untrained", patch_size=96)
NAMES = "abcdefgh"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


def extract(output, **options):
    return extract_features([Path("slides")], CONFIG, output=Path(output), **options)


def done_lines():
    path = Path("features") / STATUS
    lines = path.read_text().splitlines() if path.exists() else []
    told = [json.loads(line) for line in lines]
    return [line for line in told if line["state"] == "done"]


@pytest.mark.slow
@pytest.mark.enable_socket  # dask's own, on this machine
@pytest.mark.filterwarnings("default")  # dask's own, and of multiprocessing at its end
def test_when_a_worker_dies_all_is_done_and_nothing_twice(monkeypatch):
    for seed, name in enumerate(NAMES):
        make_slide(Path(f"slides/{name}.svs"), (1900, 1700), seed=seed)
    Path("slides/bad.svs").write_text("404")
    make_slide(Path("slides/blank.svs"), tissue=[])
    extract("alone")
    killed = []

    def kill_one():
        """End the worker that made the first bag, while it makes another."""
        deadline = time.monotonic() + 90
        while not killed and time.monotonic() < deadline:
            lines = done_lines()
            if lines:
                killed.append(lines[0]["pid"])
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = extract("features", scheduler="local:2")
    killer.join()

    made = Counter(line["slide_id"] for line in done_lines())
    assert sorted(result.done + result.kept) == list(NAMES)  # a result may die with its worker
    assert sorted(failure.item for failure in result.failures) == ["bad", "blank"]
    assert made == Counter(NAMES)
    assert {line["pid"] for line in done_lines()} > set(killed)
    assert killed
    assert contents("features") == contents("alone")


def test_a_task_gives_little_and_can_be_done_again(monkeypatch):
    make_slide(Path("slides/a.svs"))
    monkeypatch.setattr(cluster, "own_device", lambda _: "cpu")
    monkeypatch.setattr(cluster, "_worker", cluster._Worker())
    job = Job(config=CONFIG, runtime=Runtime(), options=ReadingOptions(), output=Path("features"))
    slide = SlideFile(Path("slides/a.svs").absolute(), "a")

    first = cluster.make_bag(job, slide, 0)
    before = contents("features")
    second = cluster.make_bag(job, slide, 0)

    assert first.n_patches > 0
    assert second == cluster.Outcome()
    assert contents("features") == before


def test_the_failure_of_a_task_comes_back_with_the_path_as_it_was_given(monkeypatch):
    make_slide(Path("slides/a.svs"), mpp=None)
    monkeypatch.setattr(cluster, "own_device", lambda _: "cpu")
    monkeypatch.setattr(cluster, "_worker", cluster._Worker())
    monkeypatch.setattr(cluster, "connected", lambda *_, **__: Here())
    monkeypatch.setattr("distributed.as_completed", Ended)

    result = extract("features", scheduler="local:1")

    (row,) = read_csv(Path("features/failures.csv"))
    assert row["message"].startswith("'slides/a.svs': the slide states no microns per pixel")
    assert [failure.item for failure in result.failures] == ["a"]


class Here:
    """Stands in for a client: does each task at once, in this process."""

    loop = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, work, *arguments, key, resources):
        assert key.startswith("make_bag-")
        assert not resources
        return Done(work(*arguments))


class Done:
    def __init__(self, result):
        self.result = lambda: result
        self.cancelled = lambda: False
        self.exception = lambda: None


class Ended(list):
    """Stands in for `as_completed`."""

    def __init__(self, loop):
        super().__init__()

    add = list.append


@pytest.mark.enable_socket
@pytest.mark.filterwarnings("default")  # dask's own, of a connection that fails
def test_a_scheduler_that_is_not_there_is_told_and_nothing_is_made(monkeypatch):
    make_slide(Path("slides/a.svs"))
    monkeypatch.setitem(CLIENT, "timeout", 1)

    result = CliRunner().invoke(
        cli,
        ["extract-features", "slides", "--patch-encoder", "untrained",
         "--scheduler", "tcp://127.0.0.1:9"],
    )  # fmt: skip

    assert result.exit_code == 5
    assert "no scheduler at 'tcp://127.0.0.1:9'" in result.output
    assert not Path("features").exists()


@pytest.mark.parametrize("shard", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_a_shard_that_is_none_is_refused(shard):
    make_slide(Path("slides/a.svs"))

    result = CliRunner().invoke(cli, ["extract-features", "slides", "--shard", shard])

    assert result.exit_code == 2
    assert "I/N" in result.output
