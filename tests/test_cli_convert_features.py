"""`gimp convert-features`: what comes out is what went in, and other tools can read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.storage import bag_exports
from gimp_plugin.storage.bags import list_bags, read_coords, read_features
from gimp_plugin.storage.tables import read_csv
from tests.foreign_bags import ENCODERS, MPP, READ_MPP, WRITERS, clam_h5, draw, stamp_h5, trident_h5
from tests.study_factory import FEATURE_DIM, make_study

SIZES = {"P1": 1, "P2": 33, "P3": 70}
DIM = 7


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bag_exports, "WINDOW", 32)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def gimp(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def convert(to, *more, features="in", output="out"):
    return gimp("convert-features", features, "--to", to, "-o", output, *more)


def write_all(layout, folder="in", **options):
    """Three bags of a layout, and what resolutions they need."""
    Path(folder).mkdir()
    drawn = {name: draw(size, DIM) for name, size in SIZES.items()}
    for name, (features, coords) in drawn.items():
        WRITERS[layout](Path(folder), name, features, coords, **options)
    rows = "".join(f"{name},{MPP}\n" for name in SIZES)
    Path("slides.csv").write_text(f"slide_id,mpp\n{rows}")
    return drawn, ("--slide-table", "slides.csv", "--read-mpp", READ_MPP)


@pytest.mark.parametrize("layout", [name for name in WRITERS if name != "clam-pt"])
def test_every_layout_becomes_ours_and_keeps_each_value(layout):
    drawn, resolutions = write_all(layout)

    result = convert("gimp", *resolutions)

    assert result.exit_code == 0
    assert result.output == "out: 3 bags done\n"
    bags = list_bags(Path("out"))
    assert [bag.slide_id for bag in bags] == list(SIZES)
    for bag in bags:
        features, coords = drawn[bag.slide_id]
        assert (bag.layout, bag.encoder) == ("gimp", ENCODERS.get(layout))
        np.testing.assert_array_equal(read_features(bag), features)
        np.testing.assert_array_equal(read_coords(bag), coords)
    assert gimp("verify", "out").exit_code == 0


def test_clams_code_reads_the_tensors_and_the_hdf5_files():
    """As `Generic_MIL_Dataset.__getitem__` of CLAM does, with and without h5."""
    drawn, _ = write_all("trident-h5")

    assert convert("clam-pt").exit_code == 0
    assert convert("clam-h5", output="both").exit_code == 0

    for name, (features, coords) in drawn.items():
        tensor = torch.load(Path("out") / "pt_files" / f"{name}.pt")
        with h5py.File(Path("both") / "h5_files" / f"{name}.h5", "r") as file:
            read, places = file["features"][:], file["coords"][:]
            assert (file["features"].chunks, dict(file["features"].attrs)) == ((32, DIM), {})
        assert (tensor.dtype, read.dtype, places.dtype) == (torch.float32, np.float32, np.int32)
        np.testing.assert_array_equal(tensor.numpy(), features)
        np.testing.assert_array_equal(read, features)
        np.testing.assert_array_equal(places, coords)


def test_tridents_code_reads_the_hdf5_files():
    """As `read_coords` and the attention-model datasets of TRIDENT do."""
    drawn, resolutions = write_all("stamp-h5")

    assert convert("trident-h5", *resolutions).exit_code == 0

    for name, (features, coords) in drawn.items():
        with h5py.File(Path("out") / f"{name}.h5", "r") as file:
            np.testing.assert_array_equal(file["features"][:], features)
            assert file["features"].attrs["encoder"] == "chief-ctranspath"
            assert file["features"].chunks == (1, DIM)
            np.testing.assert_array_equal(file["coords"][:], coords)
            assert file["coords"].dtype == np.int64
            told = dict(file["coords"].attrs)
        assert told["patch_size_level0"] == 256 / MPP
        assert (told["patch_size"], told["level0_width"]) == (224, "None")


def test_there_and_back_is_the_same():
    drawn, _ = write_all("trident-h5")

    convert("gimp", output="a")
    convert("trident-h5", features="a", output="b")
    convert("gimp", features="b", output="c")

    for name, (features, _) in drawn.items():
        with h5py.File(f"b/{name}.h5") as file:
            assert dict(file["coords"].attrs)["level0_width"] == 90_001
            np.testing.assert_array_equal(file["features"][:], features)
    first, last = (list_bags(Path(folder)) for folder in "ac")
    assert [bag.fingerprint for bag in first] == [bag.fingerprint for bag in last]
    assert [bag.encoder for bag in first] == [bag.encoder for bag in last]


@pytest.mark.parametrize("to", ["gimp", "clam-h5", "clam-pt", "trident-h5"])
def test_the_same_again_is_the_same_bytes_and_changes_nothing(to):
    write_all("wsidata-zarr")

    assert convert(to).exit_code == 0
    before = contents("out")
    times = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")}
    again = convert(to)
    convert(to, output="other")

    assert again.output == "out: nothing to do, 3 bags done before\n"
    assert contents("out") == before == contents("other")
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")} == times


def test_one_bag_that_changed_is_refused_then_replaced_alone():
    write_all("clam-h5")
    convert("gimp")
    before = contents("out")
    clam_h5(Path("in"), "P2", *draw(5, DIM))

    refused = convert("gimp")
    after_refusal = contents("out")
    replaced = convert("gimp", "--overwrite", "--json")

    assert refused.exit_code == 3
    assert "out/P2.h5" in refused.output
    assert after_refusal == before
    assert json.loads(replaced.output) == {
        "done": ["P2"], "failed": {}, "kept": ["P1", "P3"], "output": "out",
    }  # fmt: skip
    assert [bag.n_patches for bag in list_bags(Path("out"))] == [1, 5, 70]


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_files_of_others_are_refused(flags):
    write_all("clam-h5")
    Path("out").mkdir()
    Path("out/P3.h5").write_text("mine")
    before = contents("out")

    result = convert("gimp", *flags)

    assert result.exit_code == 3
    assert "'out/P3.h5' already exists and was not written by gimp" in result.output
    assert contents("out") == before


def test_a_bag_is_not_written_over_itself():
    write_all("clam-h5")
    before = contents("in")

    result = convert("gimp", "--overwrite", output="in")

    assert result.exit_code == 2
    assert contents("in") == before


def test_what_a_kill_left_undone_is_done_by_the_next_run():
    write_all("clam-h5")
    convert("gimp")
    whole = contents("out")
    Path("out/P2.h5").unlink()

    result = convert("gimp", "--json")

    assert json.loads(result.output)["done"] == ["P2"]
    assert contents("out") == whole


def test_a_replacement_that_was_cut_off_is_not_taken_for_done(monkeypatch):
    write_all("clam-h5")
    convert("gimp")
    clam_h5(Path("in"), "P2", *draw(5, DIM))

    def interrupted(*_):
        raise KeyboardInterrupt

    target = bag_exports.TARGETS["gimp"]
    with monkeypatch.context() as patch:
        patch.setitem(bag_exports.TARGETS, "gimp", replace(target, write=interrupted))
        assert convert("gimp", "--overwrite").exit_code == 130

    assert convert("gimp").exit_code == 3  # the old bag stands there, and is told from a new one
    assert convert("gimp", "--overwrite").exit_code == 0
    assert [bag.n_patches for bag in list_bags(Path("out"))] == [1, 5, 70]


def test_a_bad_bag_is_listed_and_the_others_are_done():
    write_all("clam-h5")
    Path("in/P2.h5").write_text("no")

    result = convert("gimp")

    assert result.exit_code == 4
    assert [bag.slide_id for bag in list_bags(Path("out"))] == ["P1", "P3"]
    (row,) = read_csv(Path("out/failures.csv"))
    assert (row["item"], row["stage"]) == ("P2", "convert")
    assert "not an HDF5 file" in row["message"]

    clam_h5(Path("in"), "P2", *draw(9, DIM))
    assert convert("gimp").exit_code == 0
    assert not Path("out/failures.csv").exists()


def test_with_nothing_but_bad_bags_it_is_code_3():
    Path("in").mkdir()
    Path("in/a.h5").write_text("no")

    assert convert("gimp").exit_code == 3
    Path("in/a.h5").unlink()
    nothing = convert("gimp")
    assert nothing.exit_code == 3
    assert "holds no bag" in nothing.output


@pytest.mark.parametrize(("to", "code"), [("gimp", 3), ("clam-h5", 0)])
def test_a_value_too_large_for_float16_is_named_by_its_row(to, code):
    Path("in").mkdir()
    features, coords = draw(70, DIM)
    features = features.astype(np.float32)
    features[47, 3] = 70_001
    clam_h5(Path("in"), "a", features, coords)
    trident_h5(Path("in"), "a", features, coords)

    result = convert(to)

    assert result.exit_code == code
    assert ("in/a.h5': row 47 holds 70001, too large for float16" in result.output) is (code == 3)
    assert not (to == "gimp" and Path("out/a.h5").exists())


def test_what_the_target_needs_and_nobody_says_is_asked_for():
    write_all("clam-h5")
    stamp_h5(Path("in"), "P2", *draw(5, DIM))
    no_mpp = convert("gimp")
    no_encoder = convert("trident-h5", "--slide-table", "slides.csv", output="b")
    given = ("--encoder", "mine", "--slide-table", "slides.csv")
    with_encoder = convert("trident-h5", *given, output="c")

    assert no_mpp.exit_code == 4
    assert "P2.h5' has its coordinates in micrometres" in no_mpp.output
    assert no_encoder.exit_code == 4
    assert "P1.h5' does not name its encoder" in no_encoder.output
    assert with_encoder.exit_code == 4
    assert "has features of 'chief-ctranspath', not of 'mine'" in with_encoder.output
    assert {bag.encoder for bag in list_bags(Path("c"))} == {"mine"}


@pytest.mark.parametrize("layout", WRITERS)
def test_bags_of_every_tool_are_verified_and_described(layout):
    write_all(layout)
    good, told = gimp("verify", "in"), json.loads(gimp("info", "in", "--json").output)
    features, coords = draw(5, DIM)
    coords[3] = coords[1]
    path = WRITERS[layout](Path("in"), "P2", features, coords)
    bad = gimp("verify", "in", "--json")

    assert good.exit_code == 0
    assert good.output == "3 good (104 patches), 0 bad\n"
    assert told["layouts"] == f"{layout} (3)"
    if layout != "clam-pt":  # which has no places
        problems = {row["path"]: row["problem"] for row in json.loads(bad.output)["verified"]}
        assert bad.exit_code == 4
        assert "occurs more than once" in problems.pop(str(path))
        assert set(problems.values()) == {""}


@pytest.mark.parametrize("name", ["gone", "notes.txt", "empty"])
def test_what_cannot_be_described_is_told_what_can(name):
    Path("notes.txt").write_text("x")
    Path("empty").mkdir()

    result = gimp("info", name)

    assert result.exit_code == 3
    assert name in result.output
    assert "a bag (.h5, .zarr, .pt), a folder of bags, a cohort (.h5ad), a run or" in result.output


def test_both_kinds_of_clams_files_stand_in_one_folder():
    write_all("trident-h5")

    assert convert("clam-h5").exit_code == convert("clam-pt").exit_code == 0

    assert convert("clam-h5").output == "out: nothing to do, 3 bags done before\n"
    assert convert("clam-pt").output == "out: nothing to do, 3 bags done before\n"


def test_bare_tensors_have_no_places_to_write():
    write_all("clam-pt")

    result = convert("gimp")

    assert result.exit_code == 3
    assert "does not say where its patches lie" in result.output


def test_a_file_that_means_harm_stops_everything():
    write_all("clam-h5")
    with h5py.File("in/P2.h5", "w") as file:
        file["features"] = h5py.ExternalLink("P1.h5", "/features")

    result = convert("gimp")

    assert result.exit_code == 7
    assert not Path("out").exists()


@pytest.mark.parametrize("layout", WRITERS)
def test_a_model_is_pretrained_on_bags_of_every_tool(layout):
    source = make_study(Path("study"), n_cases=12)
    foreign = Path("foreign")
    foreign.mkdir()
    for bag in list_bags(source.features):
        WRITERS[layout](foreign, bag.slide_id, read_features(bag), read_coords(bag))
    model = {"dim": 16, "n_heads": 2, "n_landmarks": 5, "convolution_taps": 3}
    table = "\n".join(f"{name} = {value}" for name, value in model.items())
    Path("tiny.toml").write_text(
        f"[model]\n{table}\n[pretrain]\nsubsequence_length = 13\n[genes]\nepochs = 1\n"
    )

    result = gimp(
        "pretrain", "--adata", source.adata, "--features", foreign, "--epochs", 1,
        "--device", "cpu", "--config", "tiny.toml", "-o", "run",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    told = json.loads(gimp("info", "run", "--json").output)
    assert (told["features"], told["encoder"]) == (FEATURE_DIM, ENCODERS.get(layout, ""))
