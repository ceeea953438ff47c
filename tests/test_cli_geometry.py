"""`--geometry` on the command line: presets of other options, which win where they are given."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from tests.slide_factory import make_slide
from tests.slide_readers import borrow


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)
    make_slide(Path("slides/a.svs"), (1400, 1100))


def extract(*arguments):
    return CliRunner().invoke(
        cli, ["extract-features", "slides", "--patch-encoder", "untrained", *arguments]
    )


def told():
    with h5py.File("features/a.h5") as file:
        attributes = dict(file.attrs)
    return attributes | {"config": json.loads(attributes["extraction_config"])}


def test_clam_sets_the_options_and_what_is_given_besides_wins():
    result = extract("--geometry", "clam", "--tissue", "clam:a_t=1,a_h=1", "--patch-size", "128")

    assert result.exit_code == 0, result.output
    bag = told()
    assert (bag["grid"], bag["input_size"], bag["patch_size"]) == ("contours", 224, 128)
    assert (bag["tissue_mask"], bag["min_tissue"]) == ("clam:a_t=1,a_h=1", 0.0)
    assert (bag["config"]["mask_a_t"], bag["config"]["mask_sthresh"]) == (1.0, 8)
    assert bag["config"]["input_size"] == 224
    assert "piece of tissue" in bag["order"]


def test_a_default_that_is_typed_wins_over_the_geometry():
    result = extract("--geometry", "trident", "--min-tissue", "0.25", "--grid", "inside")

    assert result.exit_code == 0, result.output
    assert (told()["min_tissue"], told()["grid"]) == (0.25, "inside")
    assert extract().output.count("nothing to do") == 1  # the same as without a geometry


def test_a_settings_file_gives_the_geometry_and_its_exceptions():
    Path("s.toml").write_text('[options.extract-features]\ngeometry = "trident"\nstride = 200\n')

    result = extract("--config", "s.toml")

    assert result.exit_code == 0, result.output
    assert (told()["grid"], told()["stride"], told()["min_tissue"]) == ("cover", 200, 0.0)


def test_another_geometry_is_not_mixed_into_the_folder():
    assert extract().exit_code == 0
    before = Path("features/a.h5").read_bytes()

    result = extract("--geometry", "trident")

    assert result.exit_code == 3
    assert "grid is 'inside' there and 'cover' here" in result.stderr
    assert Path("features/a.h5").read_bytes() == before


def test_a_slide_too_small_for_clam_says_what_to_give():
    result = extract("--geometry", "paper")

    assert result.exit_code == 3
    assert "CLAM's a_t requires more than 100" in result.stderr
    assert "--tissue clam:a_t=1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--geometry", "clamm"), "Did you mean 'clam'"),
        (("--tissue", "clam:x=1"), "unknown key 'x'"),
        (("--grid", "covers"), "Did you mean 'cover'"),
        (("--input-size", "5"), "input_size = 5 is out of range"),
    ],
)
def test_wrong_values_are_usage_errors(arguments, message):
    result = extract(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("features").exists()
