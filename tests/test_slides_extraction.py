"""Extraction as a whole: what is made, what is kept, and what interruptions leave."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gimp_plugin import keys
from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.errors import (
    ConfigError,
    GimpError,
    MissingFileError,
    ResourceError,
    StaleOutputError,
)
from gimp_plugin.slides import extraction, making, turns
from gimp_plugin.slides.encoders import untrained
from gimp_plugin.slides.encoding import Encoding
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.folder import BagFolder
from gimp_plugin.slides.status import STATUS
from gimp_plugin.storage.bags import list_bags, read_coords, read_features, read_info
from gimp_plugin.storage.tables import read_csv
from tests.slide_factory import make_slide
from tests.slide_readers import borrow, shared_readers

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

CONFIG = ExtractionConfig(patch_encoder="untrained", patch_size=96)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


def slides(*names, **options):
    for seed, name in enumerate(names):
        make_slide(Path("slides") / f"{name}.svs", seed=seed, **options)
    return [Path("slides")]


def extract(paths, *, config=CONFIG, output="features", **options):
    return extract_features(paths, config, output=Path(output), **options)


def with_options(**options):
    return {"options": ReadingOptions(**options)}


def names(folder="."):
    """Names of what lies in a folder, hidden files too; all but the log."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != STATUS)


def contents(folder):
    """Bytes of all files of a folder, hidden ones too; all but the log, which has times."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != STATUS)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_bag_holds_the_features_of_each_patch_of_a_slide():
    pixels = make_slide(Path("a.svs"))

    result = extract([Path("a.svs")])

    (bag,) = list_bags(Path("features"))
    coords = read_coords(bag)
    patches = np.stack([pixels[y : y + 96, x : x + 96] for x, y in coords])
    expected = Encoding(untrained(), Runtime(device="cpu"))(patches).astype(np.float16)
    assert (result.done, result.n_patches) == (("a",), len(coords))
    np.testing.assert_array_equal(read_features(bag), expected)
    assert bag.encoder == "untrained@untrained"


def test_a_bag_says_how_it_was_made():
    make_slide(Path("sub/a.1.svs"), mpp=0.252, levels=(1, 4), power=40)
    config = ExtractionConfig(patch_encoder="untrained", patch_size=64, stride=48, min_tissue=0.5)

    extract([Path("sub")], config=config)

    (bag,) = list_bags(Path("features"))
    told = bag.attributes
    assert told.items() >= {
        "encoder": "untrained", "encoder_weights_sha256": "untrained", "untrained": True,
        "target_mpp": 0.5, "slide_mpp_x": 0.252, "slide_mpp_source": "slide", "slide_power": 40.0,
        "vendor": "aperio", "resampled": True, "interpolation": "cv2.INTER_AREA",
        "patch_size": 64, "patch_size_read": 127, "patch_size_level0": 127, "stride": 48,
        "stride_level0": 95, "tissue_mask": "otsu", "min_tissue": 0.5, "slide_id": "a.1",
        "slide_name": "a.1.svs", "slide_width": 1100, "precision": "fp32",
    }.items()  # fmt: skip
    assert {
        "order",
        "preprocessing",
        "versions",
        "slide_fingerprint",
        "extraction_sha256",
    } <= told.keys()
    assert str(Path.cwd()) not in json.dumps(told)


def test_coords_carry_what_clam_and_trident_look_for():
    extract(slides("a", power=20))

    with h5py.File("features/a.h5") as file:
        told = dict(file["coords"].attrs)

    assert {
        "patch_level",
        "downsample",
        "downsampled_level_dim",
        "level_dim",
        "save_path",
    } <= told.keys()
    assert (told["patch_size"], told["patch_size_level0"], told["overlap"]) == (96, 96, 0)
    assert (told["level0_magnification"], told["target_magnification"]) == (20, 20)
    assert (told["name"], told["level0_width"], told["level0_height"]) == ("a", 1100, 900)


def test_complete_is_the_last_word_of_a_bag():
    extract(slides("a"))

    assert read_info(Path("features/a.h5")).attributes[keys.COMPLETE] is True


def test_the_same_call_again_does_nothing():
    paths = slides("a", "b")
    extract(paths)
    before = {path: path.stat().st_mtime_ns for path in Path("features").iterdir()}

    again = extract(paths)

    assert (again.done, again.kept, again.failures) == ((), ("a", "b"), ())
    assert {path: path.stat().st_mtime_ns for path in Path("features").iterdir()} == before


def test_bytes_do_not_depend_on_batches_or_on_the_time():
    paths = slides("a")

    extract(paths, output="one", **with_options(batch_size=7))
    extract(paths, output="two", **with_options(batch_size=100))

    assert contents("one") == contents("two")


def test_one_bad_slide_does_not_stop_the_others_and_is_tried_again():
    paths = slides("a", "b", "c")
    good = Path("slides/b.svs").read_bytes()
    Path("slides/b.svs").write_bytes(b"")

    first = extract(paths)
    (row,) = read_csv(Path("features/failures.csv"))
    Path("slides/b.svs").write_bytes(good)
    second = extract(paths)

    assert (first.done, [failure.item for failure in first.failures]) == (("a", "c"), ["b"])
    assert (row["item"], row["stage"], row["error"]) == ("b", "read", "SlideError")
    assert "slides/b.svs" in row["message"]
    assert "empty file" in row["message"]
    assert (second.done, second.kept, second.failures) == (("b",), ("a", "c"), ())
    assert not Path("features/failures.csv").exists()


def test_failures_of_other_slides_stay_listed():
    slides("a")
    Path("slides/b.svs").write_bytes(b"")
    Path("slides/c.svs").write_bytes(b"")
    extract([Path("slides")])

    extract([Path("slides/a.svs"), Path("slides/c.svs")])

    assert [row["item"] for row in read_csv(Path("features/failures.csv"))] == ["b", "c"]


def test_bags_of_another_configuration_are_never_mixed_in():
    paths = slides("a", "b")
    extract(paths[:1])
    before = contents("features")
    other = ExtractionConfig(patch_encoder="untrained", patch_size=80)

    with pytest.raises(StaleOutputError, match="patch_size is 96 there and 80 here") as caught:
        extract(paths, config=other)

    assert caught.value.exit_code == 3
    assert contents("features") == before


def test_overwrite_replaces_the_bags_at_hand_and_no_others():
    slides("a", "b")
    extract([Path("slides")])
    other = ExtractionConfig(patch_encoder="untrained", patch_size=80)
    Path("features/notes.txt").write_text("mine")

    with pytest.raises(StaleOutputError, match=r"b\.h5"):
        extract([Path("slides/a.svs")], config=other, runtime=Runtime(overwrite=True))
    result = extract([Path("slides")], config=other, runtime=Runtime(overwrite=True))

    assert result.done == ("a", "b")
    assert {bag.attributes["patch_size"] for bag in list_bags(Path("features"))} == {80}
    assert Path("features/notes.txt").read_text() == "mine"


def test_a_file_that_is_not_ours_is_not_replaced():
    paths = slides("a")
    Path("features").mkdir()
    with h5py.File("features/a.h5", "w") as file:
        file["features"], file["coords"] = np.ones((3, 5)), np.ones((3, 2))
    before = contents("features")

    for overwrite in (False, True):
        with pytest.raises(StaleOutputError, match=r"a\.h5.*not ours"):
            extract(paths, runtime=Runtime(overwrite=overwrite))

    assert contents("features") == before


@pytest.mark.parametrize("content", [b"hello", b"\x89HDF\r\n\x1a\nxxx"])
def test_what_is_no_bag_is_not_replaced_either(content):
    paths = slides("a")
    Path("features").mkdir()
    Path("features/a.h5").write_bytes(content)

    with pytest.raises(StaleOutputError, match="not ours to replace"):
        extract(paths, runtime=Runtime(overwrite=True))


def test_a_damaged_bag_is_made_again(caplog):
    paths = slides("a", "b")
    extract(paths)
    before = contents("features")
    os.truncate("features/a.h5", 3000)

    result = extract(paths)

    assert (result.done, result.kept) == (("a",), ("b",))
    assert "truncated" in caplog.text
    assert contents("features") == before


def test_a_slide_that_is_another_now_is_not_taken_for_the_old_one():
    paths = slides("a")
    extract(paths)
    before = contents("features")
    make_slide(Path("slides/a.svs"), seed=77)

    refused = extract(paths)
    kept = contents("features")
    replaced = extract(paths, runtime=Runtime(overwrite=True))

    assert [failure.error for failure in refused.failures] == ["StaleOutputError"]
    assert kept["a.h5"] == before["a.h5"]
    assert replaced.done == ("a",)


def test_a_resolution_that_is_given_anew_is_not_ignored():
    paths = slides("a", mpp=None)
    given = [
        extract(
            paths, config=ExtractionConfig(patch_encoder="untrained", patch_size=96, slide_mpp=mpp)
        )
        for mpp in (0.5, 0.5, 0.25)
    ]

    assert (given[0].done, given[1].kept) == (("a",), ("a",))
    assert "--slide-mpp 0.5, but now it is 0.25" in given[2].failures[0].message


def test_a_table_gives_the_resolution_of_single_slides():
    paths = slides("a", "b", mpp=None)

    result = extract(paths, **with_options(slide_mpps={"b": 0.5}))

    assert (result.done, [failure.item for failure in result.failures]) == (("b",), ["a"])


def test_a_slide_that_changes_while_it_is_read_fails(monkeypatch):
    paths = slides("a")
    states = itertools.count()
    monkeypatch.setattr(making, "state", lambda _: next(states))

    result = extract(paths)

    assert "changed while it was read" in result.failures[0].message
    assert not Path("features/a.h5").exists()


def test_features_that_are_not_finite_fail_the_slide_with_their_place(monkeypatch):
    paths = slides("a", "b")
    calls = iter([np.full((10_000, 32), np.nan, np.float32)])
    original = Encoding._encode

    def spoilt(self, patches):
        return torch.from_numpy(next(calls, original(self, patches).numpy())[: len(patches)])

    monkeypatch.setattr(Encoding, "_encode", spoilt)

    result = extract(paths)

    assert result.done == ("b",)
    assert result.failures[0].stage == "encode"
    assert "patch at (" in result.failures[0].message
    assert names("features") == ["b.h5", "failures.csv"]


def test_a_full_disk_stops_with_earlier_bags_whole(monkeypatch):
    paths = slides("a", "b")
    allocate, left = os.posix_fallocate, iter([True])

    def full_after_the_first(*arguments):
        if not next(left, False):
            raise OSError(28, "No space left on device")
        allocate(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", full_after_the_first)
    with pytest.raises(ResourceError, match=r"no room for 'features/b\.h5'"):
        extract(paths)
    monkeypatch.setattr(os, "posix_fallocate", allocate)

    assert names("features") == ["a.h5"]
    assert extract(paths).kept == ("a",)


def test_slides_of_one_name_get_a_bag_each():
    make_slide(Path("slides/one/a.svs"), seed=1)
    make_slide(Path("slides/two/a.svs"), seed=2)

    result = extract([Path("slides")])

    one, two = list_bags(Path("features"))
    assert result.done == (one.slide_id, two.slide_id)
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize("name", ["x" * 251, "文" * 83, "- ü (1)"])
def test_odd_and_long_names_work(name):
    paths = slides(name)

    assert extract(paths).done == (name,)
    assert names("features") == [f"{name}.h5"]


def test_an_output_that_is_a_file_is_refused():
    paths = slides("a")
    Path("features").write_text("mine")

    with pytest.raises(ConfigError, match="is a file, expected a folder"):
        extract(paths)


def test_an_unknown_encoder_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        extract(slides("a"), config=ExtractionConfig(patch_encoder="resnet5"))


def test_without_slides_nothing_is_made():
    Path("slides").mkdir()

    with pytest.raises(MissingFileError):
        extract([Path("slides")])

    assert not Path("features").exists()


def test_what_a_killed_process_left_is_removed():
    paths = slides("a")
    Path("features").mkdir()
    Path("features/.a.h5.999999999.partial").write_text("half")
    Path("features/.b.lock").touch()

    extract(paths)

    assert names("features") == ["a.h5"]


def in_a_fork(work):
    """Run something in a copy of this process, everything being imported already."""
    shared_readers()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work() or 0
        except GimpError as error:
            code = error.exit_code
        finally:
            os._exit(code)
    return pid


def test_two_processes_on_one_folder_share_the_slides():
    paths = slides(*"abcdef")
    extract(paths, output="alone")

    def work(name):
        result = extract(paths)
        Path(name).write_text(json.dumps(result.to_dict()))

    forks = [in_a_fork(lambda name=name: work(name)) for name in ("one.json", "two.json")]
    codes = [os.waitpid(pid, 0)[1] for pid in forks]

    results = [json.loads(Path(name).read_text()) for name in ("one.json", "two.json")]
    assert codes == [0, 0]
    assert sorted(results[0]["done"] + results[1]["done"]) == list("abcdef")
    assert all(sorted(one["done"] + one["kept"]) == list("abcdef") for one in results)
    assert contents("features") == contents("alone")


@pytest.mark.parametrize("made_there", [False, True])
def test_a_slide_that_another_process_holds_is_waited_for(monkeypatch, caplog, made_there):
    paths = slides("a", "b")
    extract(paths, output="other")
    folder = BagFolder(Path("features"), {}, overwrite=False)
    elsewhere = ExitStack()
    elsewhere.enter_context(folder.locked(SlideFile(Path("slides/a.svs"), "a")))

    def wait(_seconds):
        if made_there:
            shutil.copy("other/a.h5", "features/a.h5")
        elsewhere.close()

    caplog.set_level("INFO")
    monkeypatch.setattr(turns.time, "sleep", wait)

    result = extract(paths)

    assert result.done == (("b",) if made_there else ("a", "b"))
    assert result.kept == (("a",) if made_there else ())
    assert "a: another process is working on it, waiting" in caplog.text
    assert contents("features") == contents("other")


def test_slides_that_go_while_others_are_done_are_listed(monkeypatch):
    paths = slides("a", "b")
    monkeypatch.setattr(
        extraction, "check_file", lambda path: path.name == "a.svs" and path.unlink()
    )

    result = extract(paths)

    assert result.done == ("b",)
    assert "slides/a.svs' cannot be read: No such file" in result.failures[0].message


def test_pixels_that_are_not_square_are_told(monkeypatch, caplog):
    monkeypatch.setattr("gimp_plugin.slides.plan.MPP_WARNING", -1.0)

    extract(slides("a"))

    assert "a: mpp=0.5 in x, 0.5 in y" in caplog.text
