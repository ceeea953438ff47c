"""`gimp verify` finds each kind of damage, and `gimp info` tells what a path is."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.storage import verification
from gimp_plugin.storage.bag_writer import BagWriter
from gimp_plugin.training import pretrain
from tests.prediction_factory import draw_patients, make_table, rows_of
from tests.study_factory import make_study, tiny_config
from tests.test_slides_extraction import contents

OWN = {"slide_width": 2000, "slide_height": 1500, "encoder": "untrained"}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def gimp(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def write_bag(path, n_patches=700, *, dim=5, coords=None, **attributes):
    rng = np.random.default_rng(n_patches)
    if coords is None:
        coords = np.stack([np.arange(n_patches), np.arange(n_patches) % 7], axis=1)
    path.parent.mkdir(exist_ok=True)
    with BagWriter(path, dim=dim, attributes=OWN | attributes) as bag:
        bag.append(rng.normal(size=(n_patches, dim)), coords)
    return path


def change(path, dataset, row, value):
    """Write into a bag, as a tool would that does not know of its hashes."""
    with h5py.File(path, "r+") as file:
        file[dataset][row] = value


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(bytes(data))


def flip_in_features(path):
    with h5py.File(path) as file:
        chunk = file["features"].id.get_chunk_info(1)
    flip(path, chunk.byte_offset + 77)


def unfinish(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]


DAMAGE = {
    "a value is another": (
        lambda path: change(path, "features", 650, 0.5),
        "'features' has sha256",
    ),
    "a value is infinite": (
        lambda path: change(path, "features", 650, np.inf),
        "row 650 of 'features' is not finite",
    ),
    "a corner is another": (lambda path: change(path, "coords", 3, 99), "'coords' has sha256"),
    "a byte is flipped": (flip_in_features, "'features' is damaged (checksum"),
    "the end is cut off": (lambda path: path.write_bytes(path.read_bytes()[:9000]), "truncated"),
    "it is not finished": (unfinish, "not finished by its writer"),
    "it is empty": (lambda path: path.write_bytes(b""), ""),
    "it is text": (lambda path: path.write_text("no"), ""),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_damage_of_one_bag_is_told_by_name_and_nothing_is_changed(damage, reason):
    write_bag(Path("bags/good.h5"), 333)
    damage(write_bag(Path("bags/bad.h5")))
    before = contents("bags")

    result = gimp("verify", "bags")

    assert result.exit_code == 4
    (line, summary) = result.output.splitlines()
    assert "bags/bad.h5" in line
    assert reason in line
    assert summary == "1 good (333 patches), 1 bad"
    assert contents("bags") == before


@pytest.mark.parametrize(
    ("coords", "reason"),
    [
        ([[0, 0], [5, 5], [9, 1], [5, 5]], "(5, 5) occurs more than once"),
        ([[0, 0], [2000, 5], [1, 1], [5, 5]], "(2000, 5) lies outside the slide (2000 x 1500)"),
        ([[0, 0], [1999, 1499], [1, 1], [5, -1]], "(5, -1) lies outside"),
    ],
)
def test_corners_that_cannot_be_are_told(coords, reason):
    write_bag(Path("bags/a.h5"), 4, coords=np.array(coords))

    result = gimp("verify", "bags/a.h5")

    assert result.exit_code == 3
    assert reason in result.output


def test_whole_bags_of_any_size_pass(monkeypatch):
    monkeypatch.setattr(verification, "WINDOW", 100)
    for size in (1, 99, 100, 101, 700):
        write_bag(Path(f"bags/{size}.h5"), size)

    result = gimp("verify", "bags", "--json")

    told = json.loads(result.output)
    assert result.exit_code == 0
    assert (told["good"], told["bad"]) == (5, 0)
    assert sum(row["n_patches"] for row in told["verified"]) == 1001


def test_foreign_bags_are_read_from_end_to_end_too():
    Path("bags").mkdir()
    for name, last in (("good", 1.0), ("bad", np.nan)):
        with h5py.File(f"bags/{name}.h5", "w") as file:
            file["features"] = np.array([[0.0, 1.0], [2.0, last]], np.float32)
            file["coords"] = np.array([[0, 0], [256, 0]])

    result = gimp("verify", "bags")

    assert result.exit_code == 4
    assert "bags/bad.h5': row 1 of 'features' is not finite" in result.output


@pytest.mark.parametrize("name", ["gone", "gone.h5"])
def test_what_is_not_there_is_code_3(name):
    result = gimp("verify", name)

    assert result.exit_code == 3
    assert name in result.output


def test_a_folder_without_bags_is_code_3():
    Path("empty").mkdir()

    assert gimp("verify", "empty").exit_code == 3


@pytest.fixture
def run():
    source = make_study(Path("study"))
    pretrain(source, tiny_config(), output=Path("run"), runtime=Runtime(device="cpu"))
    return Path("run")


def test_a_run_is_verified_and_described(run):
    good = gimp("verify", run, "study/features")
    told = gimp("info", run, "--json")
    flip(run / "model.safetensors", -100)
    bad = gimp("verify", run)

    assert good.exit_code == 0
    assert good.output.startswith("31 good (")
    facts = json.loads(told.output)
    assert (facts["kind"], facts["genes"], facts["classes"]) == ("pretrain", 17, "LUAD, LUSC")
    assert facts["cases"] == "test 6, train 18, val 6"
    assert bad.exit_code == 3
    assert "model.safetensors" in bad.output


def test_a_bag_is_described():
    write_bag(Path("bags/a.h5"), 41, target_mpp=0.5)

    told = json.loads(gimp("info", "bags/a.h5", "--json").output)
    text = gimp("info", "bags/a.h5").output

    assert told.items() >= {
        "kind": "bag", "slide_id": "a", "patches": 41, "features": 5, "encoder": "untrained",
        "ours": True, "target_mpp": 0.5, "slide_width": 2000,
    }.items()  # fmt: skip
    assert text.startswith("bags/a.h5: bag\n")
    assert "slide width" in text


def test_a_folder_of_bags_is_described_with_what_differs():
    for size, encoder in ((3, "one"), (8, "two"), (40, "two")):
        write_bag(Path(f"bags/{size}.h5"), size, encoder=encoder)
    Path("bags/broken.h5").write_text("no")

    told = json.loads(gimp("info", "bags", "--json").output)

    assert told["kind"] == "folder of bags"
    assert (told["bags"], told["patches"]) == (3, 51)
    assert told["patches a bag"] == "3 to 40, median 8"
    assert told["encoders"] == "one (1), two (2)"
    assert told["not readable"] == "'broken'"


def test_a_cohort_and_predictions_are_described():
    make_study(Path("study"), n_cases=9, n_genes=5)
    make_table(Path("predictions.csv"), rows_of(draw_patients(11)), rows_of(draw_patients(4), split="new", prefix="N"))  # fmt: skip # noqa: E501  # one table

    cohort = json.loads(gimp("info", "study/genes.h5ad", "--json").output)
    table = json.loads(gimp("info", "predictions.csv", "--json").output)

    assert (cohort["kind"], cohort["cases"], cohort["genes"]) == ("cohort", 9, 5)
    assert cohort["scale"] == "log"
    assert (table["kind"], table["cases"], table["splits"]) == (
        "predictions", 15, "new (4), test (11)",
    )  # fmt: skip


def test_what_is_none_of_these_is_code_3():
    Path("empty").mkdir()
    Path("notes.txt").write_text("no")

    for name in ("empty", "notes.txt", "gone"):
        result = gimp("info", name)

        assert result.exit_code == 3
        assert name in result.output
