"""Several processes, machines and job arrays on one folder: each slide is done once."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.config import ExtractionConfig, ReadingOptions
from gimp_plugin.slides.extraction import extract_features, in_shard
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.status import STATUS, Status
from gimp_plugin.storage.tables import Failure, read_csv
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.test_slides_extraction import CONFIG, contents, in_a_fork

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


def extract(paths, *, output="features", config=CONFIG, **options):
    return extract_features(paths, config, output=Path(output), options=ReadingOptions(**options))


def noted(output="features"):
    """Lines of the log."""
    return [json.loads(line) for line in (Path(output) / STATUS).read_text().splitlines()]


def how_often(state):
    return Counter(line["slide_id"] for line in noted() if line["state"] == state)


@given(
    names=st.sets(st.text(st.characters(categories=["L", "N"]), min_size=1), max_size=40),
    parts=st.integers(1, 7),
)
def test_every_slide_is_in_one_shard_whatever_else_is_there(names, parts):
    slides = [SlideFile(Path(name), name) for name in sorted(names)]

    shards = [in_shard(slides, part, parts) for part in range(parts)]

    assert sorted(slide.slide_id for shard in shards for slide in shard) == sorted(names)
    for part, shard in enumerate(shards):
        assert all(in_shard([slide], part, parts) for slide in shard)


@pytest.mark.usefixtures("quick")
def test_shards_together_make_what_one_command_makes():
    for seed, name in enumerate("abcdefg"):
        make_slide(Path(f"slides/{name}.svs"), (500, 460), seed=seed)
    Path("slides/bad.svs").write_text("404")
    extract([Path("slides")], output="whole")

    results = [extract([Path("slides")], shard=(part, 3)) for part in range(3)]

    assert sum(len(result.done) for result in results) == 7
    assert sum(len(result.failures) for result in results) == 1
    assert contents("features") == contents("whole")


@pytest.mark.usefixtures("quick")
def test_four_processes_share_good_and_bad_slides_and_their_list_of_failures():
    for seed, name in enumerate("abcdefgh"):
        make_slide(Path(f"slides/{name}.svs"), (500, 460), seed=seed)
        make_slide(Path(f"slides/blank-{name}.svs"), (500, 460), tissue=[])
    extract([Path("slides")], output="alone")

    forks = [in_a_fork(lambda: extract([Path("slides")]) and None) for _ in range(4)]
    codes = [os.waitpid(pid, 0)[1] for pid in forks]

    assert codes == [0] * 4
    assert contents("features") == contents("alone")
    assert how_often("done") == Counter("abcdefgh")
    assert len(read_csv(Path("features/failures.csv"))) == 8
    assert how_often("failed").total() < 4 * 8  # with no sharing, each process tries each


@pytest.mark.usefixtures("quick")
def test_a_slide_that_another_process_could_not_read_meanwhile_is_not_tried_again(monkeypatch):
    make_slide(Path("slides/a.svs"), (500, 460))
    make_slide(Path("slides/b.svs"), (500, 460))
    monkeypatch.setattr("gimp_plugin.slides.making.BagMaker.attempt", lambda *_: "tried with this")
    started = Status.__init__

    def start(self, folder, **since):
        started(self, folder, **since)
        self.note("a", "failed", attempt="tried with this", stage="read", error="E", message="why")
        self.note("b", "failed", attempt="other options", stage="read", error="E", message="why")

    monkeypatch.setattr(Status, "__init__", start)

    result = extract([Path("slides")])

    assert result.failures == (Failure("a", "read", "E", "why"),)
    assert result.done == ("b",)
    assert how_often("started") == Counter("b")


@pytest.mark.usefixtures("quick")
def test_what_failed_before_is_tried_again():
    make_slide(Path("slides/a.svs"), (500, 460), mpp=None)
    first = extract([Path("slides")])

    second = extract([Path("slides")])

    assert len(first.failures) == len(second.failures) == 1
    assert how_often("started") == Counter({"a": 2})


@pytest.mark.usefixtures("quick")
def test_a_log_with_broken_lines_is_read_over():
    status = Status(Path("features"))
    status.note("a", "failed", attempt="x", stage="read", error="E", message="why")
    with (Path("features") / STATUS).open("ab") as file:
        file.write(b'{"cut": \n[1]\n"text"\n{"slide_id": "half')

    assert status.failed("a", attempt="x") == Failure("a", "read", "E", "why")
    assert status.failed("half", attempt="x") is None
    assert Status(Path("features")).failed("a", attempt="x") is None


@pytest.mark.usefixtures("quick")
def test_what_failed_there_is_listed_beside_what_fails_here():
    """Bags of other slides in the folder, and their failures, are nobody's business."""
    make_slide(Path("one/a.svs"), (500, 460), mpp=None)
    make_slide(Path("two/b.svs"), (500, 460), mpp=None)

    extract([Path("one")])
    extract([Path("two")], config=ExtractionConfig(patch_encoder="untrained", patch_size=96))

    assert [row["item"] for row in read_csv(Path("features/failures.csv"))] == ["a", "b"]
