"""Several readers on one slide, patches that cannot be read, and readers that are killed."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.slides.making import BagMaker, default_readers
from gimp_plugin.slides.reading import KilledReaderError
from gimp_plugin.storage.bags import list_bags, read_coords, read_features
from tests.slide_factory import make_slide
from tests.slide_readers import borrow, shared_readers
from tests.test_slides_extraction import contents
from tests.test_slides_plan import request

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


def extract(*, output="features", num_workers=1, batch_size=3, allowed=0.0, overwrite=False):
    return extract_features(
        [Path("a.svs")],
        ExtractionConfig(patch_encoder="untrained", patch_size=96, max_bad_patches=allowed),
        output=Path(output),
        runtime=Runtime(num_workers=num_workers, overwrite=overwrite),
        options=ReadingOptions(batch_size=batch_size),
    )


def damage(path, column, row, *, tile_px=256):
    """Overwrite the bytes of one tile of level 0; give the box of its pixels."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        index = row * -(-page.imagewidth // tile_px) + column
        start, size = page.dataoffsets[index], page.databytecounts[index]
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    left, top = column * tile_px, row * tile_px
    return left, top, left + tile_px, top + tile_px


def touches(coords, box, *, size=96):
    left, top, right, bottom = box
    x, y = coords.T
    return (x + size > left) & (x < right) & (y + size > top) & (y < bottom)


@pytest.mark.parametrize("num_workers", [2, 3, 50])
def test_bytes_do_not_depend_on_the_number_of_readers(num_workers):
    make_slide(Path("a.svs"))

    extract(output="one")
    extract(output="many", num_workers=num_workers)

    assert contents("many") == contents("one")


def test_a_bad_patch_fails_the_slide_and_its_place_is_told():
    make_slide(Path("a.svs"))
    box = damage(Path("a.svs"), 2, 1)

    (failure,) = extract().failures

    place = failure.message.partition("patch at (")[2].partition(")")[0]
    assert touches(np.array([[int(value) for value in place.split(",")]]), box).all()
    assert "--max-bad-patches" in failure.message
    assert not list(Path("features").glob("*.h5"))


@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_share_of_bad_patches_may_pass_and_the_others_are_as_ever(num_workers):
    make_slide(Path("a.svs"))
    extract(output="whole")
    (whole,) = list_bags(Path("whole"))
    box = damage(Path("a.svs"), 2, 1)
    bad = touches(read_coords(whole), box)

    result = extract(num_workers=num_workers, allowed=0.5)

    (bag,) = list_bags(Path("features"))
    assert 0 < bad.sum() < len(bad) / 2
    assert result.n_patches == (~bad).sum()
    assert bag.attributes["n_bad_patches"] == bad.sum()
    assert whole.attributes["n_bad_patches"] == 0
    np.testing.assert_array_equal(read_coords(bag), read_coords(whole)[~bad])
    expected = read_features(whole)[~bad].astype(float)  # smaller batches round otherwise
    np.testing.assert_allclose(read_features(bag).astype(float), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_more_bad_patches_than_allowed_fail_the_slide(num_workers):
    make_slide(Path("a.svs"))
    damage(Path("a.svs"), 2, 1)

    (failure,) = extract(num_workers=num_workers, allowed=0.03).failures

    assert "patches so far" in failure.message
    assert not list(Path("features").glob("*.h5"))


def test_a_slide_without_any_good_patch_has_no_bag():
    make_slide(Path("a.svs"), (256, 256), levels=(1,))
    make_slide(Path("b.svs"), (256, 256), levels=(1,))
    damage(Path("a.svs"), 0, 0)

    (failure,) = extract(allowed=1.0).failures

    assert "a.svs" in failure.message
    assert not list(Path("features").glob("*.h5"))


def test_a_bag_that_lacks_more_than_is_allowed_now_is_refused_and_then_kept_again():
    make_slide(Path("a.svs"))
    damage(Path("a.svs"), 2, 1)
    extract(allowed=0.5)
    before = contents("features")

    refused = extract(allowed=0.01)
    kept = extract(allowed=0.6)

    assert "more than --max-bad-patches 0.01" in refused.failures[0].message
    assert kept.kept == ("a",)
    assert {name: contents("features")[name] for name in before} == before


def descendants(pid):
    """Processes below a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, below = [], {pid}
    while below:
        below = {child for child, parent in parents.items() if parent in below}
        found += sorted(below)
    return found


def test_a_reader_that_is_killed_is_told_from_one_that_crashes():
    make_slide(Path("a.svs"), (2600, 2400))
    readers = shared_readers()
    before = set(descendants(readers._process.pid))
    asked = request(Path("a.svs").absolute(), batch_size=5)
    with closing(readers.read(asked, timeout_s=60)) as reading:
        batches = reading.batches(reading.plan())
        next(batches)
        reader = [pid for pid in descendants(readers._process.pid) if pid not in before][-1]

        os.kill(reader, signal.SIGKILL)

        with pytest.raises(KilledReaderError, match=r"a\.svs.*signal 9, SIGKILL"):
            list(batches)


def killed_when(monkeypatch, condition):
    finish, tried = BagMaker.finish, []

    def spoilt(self, started):
        tried.append(started.n_readers)
        if condition(started.n_readers):
            with started.resources:
                raise KilledReaderError("a reader was killed", hint="fewer")
        return finish(self, started)

    monkeypatch.setattr(BagMaker, "finish", spoilt)
    return tried


def test_a_slide_whose_reader_was_killed_gets_a_second_chance_with_one(monkeypatch, caplog):
    make_slide(Path("a.svs"))
    tried = killed_when(monkeypatch, lambda n_readers: n_readers > 1)

    result = extract(num_workers=3)

    assert (result.done, tried) == (("a",), [3, 1])
    assert "trying again with one reader" in caplog.text


def test_there_is_no_third_chance(monkeypatch):
    make_slide(Path("a.svs"))
    tried = killed_when(monkeypatch, lambda _: True)

    result = extract(num_workers=3)

    assert (result.done, tried) == ((), [3, 1])
    assert result.failures[0].error == "KilledReaderError"


def test_a_gpu_is_fed_by_several_readers_and_a_cpu_by_one():
    assert default_readers("cpu") == 1
    assert 1 <= default_readers("cuda") <= 8
