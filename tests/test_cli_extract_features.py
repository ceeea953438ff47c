"""`gimp extract-features`: the bad inputs of slides, and how the command ends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openslide
import pytest
import torch
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.slides.status import STATUS
from gimp_plugin.storage.bags import list_bags, read_coords, read_features
from gimp_plugin.storage.tables import read_csv
from tests.resnet_factory import layer3_mean, seeded_resnet50
from tests.slide_factory import make_slide
from tests.slide_readers import borrow

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="needs the evaluation data")
UNTRAINED = ("--patch-encoder", "untrained")


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    borrow(monkeypatch)


def gimp(*arguments):
    return CliRunner().invoke(cli, ["extract-features", *map(str, arguments)])


def names(folder="."):
    """Names of what lies in a folder, hidden files too."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != STATUS)


def hashes(folder):
    """Every file below a folder with the hash of its bytes; what is no file with its kind."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else os.lstat(path).st_mode
        for path in Path(folder).rglob("*")
        if path.name != STATUS
    }


def whole_slide():
    make_slide(Path("whole.svs"))
    return Path("whole.svs").read_bytes()


def cut(share):
    def write(path):
        data = whole_slide()
        Path("whole.svs").unlink()
        path.write_bytes(data[: int(len(data) * share)])

    return write


def with_mpp(mpp):
    return lambda path: make_slide(path, mpp=mpp)


def with_huge_tiles(path):
    make_slide(path)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for tag in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, tag)[0] in {322, 323}:
            struct.pack_into("<HII", data, tag + 2, 4, 1, 2_000_000_000)
    path.write_bytes(data)


BAD = {
    "row 1: empty": (lambda path: path.write_bytes(b""), "empty file (0 bytes)"),
    "row 2: cut at 1 %": (cut(0.01), "truncated or incomplete: it has"),
    "row 2: cut at 25 %": (cut(0.25), "truncated or incomplete: it has"),
    "row 2: cut at 50 %": (cut(0.5), "truncated or incomplete: it has"),
    "row 2: cut at 90 %": (cut(0.9), "truncated or incomplete: it has"),
    "row 2: cut at 99 %": (cut(0.99), "truncated or incomplete: it has"),
    "row 3: text": (lambda path: path.write_text("404 not found"), "text, expected a TIFF"),
    "row 3: HTML": (lambda path: path.write_text("<!DOCTYPE html><h1>404"), "HTML: a failed downl"),
    "row 4: random": (
        lambda path: path.write_bytes(b"\x8f" + os.urandom(1 << 20)),
        "unknown content (it starts with 8f",
    ),
    "row 7: folder": (lambda path: path.mkdir(), "is a folder, not a slide"),
    "row 8: FIFO": (os.mkfifo, "is a FIFO, not a slide"),
    "row 9: dangling": (lambda path: path.symlink_to("gone.svs"), "is a link to 'gone.svs'"),
    "row 10: loop": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "row 11: huge tiles": (with_huge_tiles, ""),
    "row 15: no mpp": (with_mpp(None), "no microns per pixel (give --slide-mpp, or a column mpp"),
    "row 16: mpp nan": (with_mpp("nan"), "no microns per pixel"),
    "row 16: mpp text": (with_mpp("half"), "no microns per pixel"),
    "row 17: mpp 0": (with_mpp(0), "mpp=0, expected 0.05 to 20"),
    "row 17: mpp below 0": (with_mpp(-0.25), "mpp=-0.25, expected 0.05 to 20"),
    "row 17: mpp 1e99": (with_mpp("1e99"), "mpp=1e+99, expected 0.05 to 20"),
    "row 23: blank": (lambda path: make_slide(path, tissue=[]), "no tissue found"),
    "row 24: small": (lambda path: make_slide(path, (100, 100)), "is smaller than one patch"),
}


@pytest.mark.parametrize(("write", "reason"), BAD.values(), ids=BAD)
def test_a_bad_slide_is_listed_and_the_others_are_done(write, reason):
    write(Path("bad.svs"))
    Path("slides").mkdir()
    shutil.move("bad.svs", "slides/bad.svs")
    make_slide(Path("slides/good.svs"))
    before = hashes("slides")

    result = gimp("slides", *UNTRAINED)

    (row,) = read_csv(Path("features/failures.csv"))
    assert result.exit_code == 4
    assert row["item"] == "bad"
    assert "slides/bad.svs" in row["message"]
    assert reason in row["message"]
    assert f"bad failed: {row['message']}" in result.stderr
    assert "Traceback" not in result.stderr
    assert [bag.slide_id for bag in list_bags(Path("features"))] == ["good"]
    assert names("features") == ["failures.csv", "good.h5"]
    assert hashes("slides") == before


def test_only_bad_slides_are_code_3_and_leave_earlier_bags_alone():
    make_slide(Path("good.svs"))
    gimp("good.svs", *UNTRAINED)
    before = hashes("features")
    Path("bad.svs").write_bytes(b"")

    result = gimp("bad.svs", *UNTRAINED)

    after = hashes("features")
    assert result.exit_code == 3
    assert result.stdout == "features: 1 slide failed\n"
    assert after.pop(Path("failures.csv"))
    assert after == before


def test_resnet50_is_torchvisions_up_to_layer3_on_the_pixels_of_the_slide():
    network = seeded_resnet50()
    torch.save(network.state_dict(), "seeded.pth")
    make_slide(Path("a.svs"), mpp=0.499)

    result = gimp("a.svs", "--weights", "seeded.pth")

    (bag,) = list_bags(Path("features"))
    with openslide.OpenSlide("a.svs") as slide:
        regions = [slide.read_region(corner, 0, (256, 256)) for corner in read_coords(bag).tolist()]
    expected = layer3_mean(network, np.stack([np.asarray(each)[..., :3] for each in regions]))
    digest = hashlib.sha256(Path("seeded.pth").read_bytes()).hexdigest()
    assert result.exit_code == 0
    assert (bag.dim, bag.encoder) == (1024, f"resnet50@{digest[:12]}")
    assert expected.std() > 0.05
    half_of_a_step = 2.0**-11  # of float16, relative
    np.testing.assert_allclose(read_features(bag), expected, atol=1e-5, rtol=half_of_a_step)


def test_row_40_missing_weights_are_code_3():
    make_slide(Path("a.svs"))

    result = gimp("a.svs", "--weights", "none.pth")

    assert result.exit_code == 3
    assert "no weights file 'none.pth'" in result.stderr
    assert names() == ["a.svs"]


def test_row_40_corrupt_weights_are_code_3_with_their_hash():
    make_slide(Path("a.svs"))
    Path("w.pth").write_bytes(b"hello")
    before = hashes(".")

    result = gimp("a.svs", "--weights", "w.pth")

    assert result.exit_code == 3
    assert "'w.pth' is damaged" in result.stderr
    assert hashlib.sha256(b"hello").hexdigest() in result.stderr
    assert hashes(".") == before


def test_row_40_weights_with_another_hash_are_code_3_with_both():
    make_slide(Path("a.svs"))
    torch.save({"x": torch.zeros(1)}, "resnet50-0676ba61.pth")
    before = hashes(".")

    result = gimp("a.svs", "--weights", "resnet50-0676ba61.pth")

    found = hashlib.sha256(Path("resnet50-0676ba61.pth").read_bytes()).hexdigest()
    assert result.exit_code == 3
    assert f"has sha256 {found}, but its name says 0676ba61" in result.stderr
    assert hashes(".") == before


def test_without_weights_it_is_code_5_before_any_slide_is_opened():
    os.mkfifo("a.svs")  # opening it would hang

    result = gimp("a.svs", "--offline")

    assert result.exit_code == 5
    for remedy in ("https://download.pytorch.org", "--weights FILE", "efficientnet-lite0"):
        assert remedy in result.stderr
    assert names() == ["a.svs"]


def test_a_pickle_that_carries_code_is_code_7():
    make_slide(Path("a.svs"))
    torch.save(torch.nn.Linear(2, 2), "w.pth")

    result = gimp("a.svs", "--weights", "w.pth")

    assert result.exit_code == 7
    assert "carries code; it was not run" in result.stderr


def test_another_configuration_is_code_3_and_names_both():
    make_slide(Path("a.svs"))
    gimp("a.svs", *UNTRAINED)
    before = hashes(".")

    result = gimp("a.svs", *UNTRAINED, "--min-tissue", "0.5")

    assert result.exit_code == 3
    assert "min_tissue is 0.25 there and 0.5 here" in result.stderr
    assert hashes(".") == before


def test_a_device_that_is_not_there_is_code_5():
    make_slide(Path("a.svs"))

    result = gimp("a.svs", *UNTRAINED, "--device", "cuda:99")

    assert result.exit_code == 5
    assert "--device cpu" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mpp", "0"), "mpp = 0.0 is out of range"),
        (("--min-tissue", "1.5"), "min_tissue = 1.5 is out of range"),
        (("--tissue", "otso"), "did you mean 'otsu'"),
        (("--patch-encoder", "resnet5"), "did you mean 'resnet50'"),
        (("--slide-mpp", "50"), "slide_mpp = 50.0 is out of range"),
    ],
)
def test_wrong_options_are_code_2(arguments, message):
    make_slide(Path("a.svs"))

    result = gimp("a.svs", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert names() == ["a.svs"]


def test_a_second_run_has_nothing_to_do():
    make_slide(Path("a.svs"))
    first = gimp("a.svs", *UNTRAINED)

    second = gimp("a.svs", *UNTRAINED)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "features: 1 slide done, 12 patches" in first.stdout
    assert second.stdout == "features: nothing to do, 1 slide done before\n"


def test_a_summary_for_programs():
    make_slide(Path("a.svs"))
    Path("b.svs").write_bytes(b"")

    told = json.loads(gimp("a.svs", "b.svs", *UNTRAINED, "--json").stdout)

    assert (told["done"], told["kept"], told["n_patches"]) == (["a"], [], 12)
    assert told["failures"][0]["item"] == "b"


def test_a_dry_run_writes_nothing():
    make_slide(Path("a.svs"))
    Path("b.svs").write_bytes(b"")

    result = gimp("a.svs", "b.svs", *UNTRAINED, "--dry-run")
    told = json.loads(gimp("a.svs", "b.svs", *UNTRAINED, "--dry-run", "--json").stdout)

    assert result.exit_code == 4
    assert gimp("b.svs", *UNTRAINED, "--dry-run").exit_code == 3
    assert "a: 12 patches" in result.stdout
    assert "b: would fail: 'b.svs' is an empty file" in result.stdout
    assert told["n_patches"] == {"a": 12}
    assert told["n_bytes"] > 12 * 32 * 2
    assert told["hours"] > 0
    assert names() == ["a.svs", "b.svs"]


def test_a_dry_run_without_weights_counts_patches_and_downloads_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *given, **_: asked.append(given))
    make_slide(Path("a.svs"))
    before = names()

    result = gimp("a.svs", "--dry-run")
    told = json.loads(gimp("a.svs", "--dry-run", "--json").stdout)

    assert result.exit_code == 0
    assert "a: 12 patches" in result.stdout
    assert "bytes and hours are not known: a dry run downloads nothing" in result.stdout
    assert "the encoder is not available: no weights 'resnet50-0676ba61.pth' in" in result.stderr
    assert (told["n_patches"], told["n_bytes"], told["hours"]) == ({"a": 12}, None, None)
    assert "resnet50-0676ba61.pth" in told["lacking"]
    assert asked == []
    assert names() == before


def test_a_slide_table_gives_resolutions():
    make_slide(Path("a.svs"), mpp=None)
    make_slide(Path("b.svs"), mpp=None)
    Path("slides.csv").write_text("slide_id,case_id,mpp\na.svs,P1,0.5\nb,P2,\n")
    given = ("--slide-table", "slides.csv", "--slide-mpp", "0.25")

    result = gimp("a.svs", "b.svs", *UNTRAINED, *given)

    assert result.exit_code == 0
    bags = list_bags(Path("features"))
    assert [bag.attributes["slide_mpp_x"] for bag in bags] == [0.5, 0.25]


@pytest.mark.parametrize("cell", ["text", "0", "nan", "99"])
def test_a_slide_table_with_a_wrong_resolution_is_refused(cell):
    make_slide(Path("a.svs"), mpp=None)
    Path("slides.csv").write_text(f"slide_id,mpp\na,{cell}\n")

    result = gimp("a.svs", *UNTRAINED, "--slide-table", "slides.csv")

    assert result.exit_code == 3
    assert f"'slides.csv': slide 'a' has mpp '{cell}'" in result.stderr


@pytest.mark.parametrize("name", ["a", "a.svs"])
def test_a_slide_table_with_two_resolutions_of_a_slide_is_refused(name):
    make_slide(Path("a.svs"), mpp=None)
    Path("slides.csv").write_text(f"slide_id,mpp\n{name},0.5\n{name},0.25\n")

    result = gimp("a.svs", *UNTRAINED, "--slide-table", "slides.csv")

    assert result.exit_code == 3
    assert f"'slides.csv' gives slide '{name}' mpp 0.5 and 0.25" in result.stderr
    assert names() == ["a.svs", "slides.csv"]


@needs_data
def test_real_slides_without_resolution_are_listed():
    result = gimp(DATA / "real_slides", *UNTRAINED)

    (row,) = read_csv(Path("features/failures.csv"))
    assert result.exit_code == 4
    assert row["item"] == "tcga-cr-7395-01a-01-ts1"
    assert "no microns per pixel" in row["message"]
    bags = {bag.slide_id: bag.attributes["reader"] for bag in list_bags(Path("features"))}
    assert bags == {
        "CMU-1-Small-Region": "tiatoolbox.OpenSlideWSIReader",
        "cmu1_dicom": "openslide",
    }


@needs_data
def test_half_the_resolution_of_a_real_slide_gives_a_quarter_of_its_patches():
    slide = DATA / "real_slides" / "tcga-cr-7395-01a-01-ts1.svs"

    for mpp in (0.5, 0.25):
        gimp(slide, *UNTRAINED, "--slide-mpp", mpp, "-o", f"at-{mpp}")

    (coarse,), (fine,) = (list_bags(Path(f"at-{mpp}")) for mpp in (0.25, 0.5))
    assert fine.n_patches > 100
    assert coarse.n_patches == pytest.approx(fine.n_patches / 4, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_ends_within_seconds_and_leaves_nothing(number, code):
    """In processes of its own: signals, and what becomes of the readers."""
    make_slide(Path("a.svs"), (6000, 5000), levels=(1, 4), compression="jpeg")
    command = [sys.executable, "-m", "gimp_plugin", "extract-features", "a.svs", *UNTRAINED]
    process = subprocess.Popen([*command, "--patch-size", "32"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list(Path().glob("features/.*.partial")) and time.monotonic() < deadline:
        time.sleep(0.01)
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    readers = [pid for pid in pids if is_ours(pid, process.pid)]

    process.send_signal(number)
    start = time.monotonic()
    _, stderr = process.communicate(timeout=30)

    assert time.monotonic() - start < 5
    assert process.returncode == code
    assert "the same command continues where it stopped" in stderr
    assert names("features") == []
    assert len(readers) == 1
    assert [pid for pid in readers if is_running(pid)] == []


def is_ours(pid, parent):
    """Whether a process is a reader that the command started."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(status[1]) == parent


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
