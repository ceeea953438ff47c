"""`gimp view`: the slide and its scores in TIAToolbox's tile server, and what is refused."""

from __future__ import annotations

import io
import shutil
import socket
import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from gimp_plugin.storage.tables import read_csv
from tests.slide_factory import make_slide
from tests.study_factory import make_study, settings
from tests.test_cli_bad_cohorts import contents, gimp, refused
from tests.test_cli_explain import DRAWN, SIDE, placed

pytestmark = pytest.mark.tiatoolbox
SIZE = (1100, 900)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, an explanation with stores, and a slide of one of its cases."""
    folder = tmp_path_factory.mktemp("view")
    make_study(folder, n_cases=16, n_patches=(7, 12), image_signal=0.9)
    placed(folder / "features", SIZE)
    (folder / "tiny.toml").write_text(settings())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cohort = ("--adata", "genes.h5ad", "--features", "features")
        options = ("--config", "tiny.toml", "--from", "none", "--epochs", 1)
        for name, seed in (("run", 0), ("other", 1)):
            done = gimp("finetune", *cohort, *options, "--seed", seed, "-o", name)
            assert done.exit_code == 0, done.output
        speed = (*DRAWN, "--skip", "pictures", "--format", "store")
        done = gimp("explain", *cohort, "--model", "run", "--split", "test", *speed)
        assert done.exit_code == 0, done.output
    case_id = read_csv(folder / "explanation" / "cases.csv")[0]["case_id"]
    make_slide(folder / "slides" / f"{case_id}.svs", SIZE)
    return folder


@pytest.fixture
def slide(made, monkeypatch):
    """The slide, from the folder above."""
    monkeypatch.chdir(made)
    return next(Path("slides").iterdir())


@pytest.fixture
def served(monkeypatch):
    """No port is served, and none asked for."""
    monkeypatch.setattr("gimp_plugin.cli.view.serve", lambda one, port: None)
    monkeypatch.setattr("gimp_plugin.cli.view.check_free", lambda port: None)


def tile(server, layer, place):
    address = f"/tileserver/layer/{layer}/default/zoomify/TileGroup0/{place}@1x.jpg"
    answer = server.test_client().get(address)
    assert answer.status_code == 200
    return np.asarray(Image.open(io.BytesIO(answer.data)).convert("RGBA")).astype(int)


@pytest.mark.parametrize("score", ["attention", "attribution"])
@pytest.mark.usefixtures("served")
def test_patches_are_coloured_by_the_rank_of_the_score(made, slide, monkeypatch, score):
    colours = {}

    def look(server, port):
        finest = server.pyramids["default"][score].level_count - 1
        with h5py.File(made / "explanation" / "patches" / f"{slide.stem}.h5") as file:
            corners, values = file["coords"][()], file[score][()]
        for name, patch in (("low", values.argmin()), ("high", values.argmax())):
            x, y = corners[patch] // SIDE
            colours[name] = tile(server, score, f"{finest}-{x}-{y}")[128, 128]
        colours["slide"] = tile(server, "slide", "0-0-0").std()

    monkeypatch.setattr("gimp_plugin.cli.view.serve", look)
    before = contents(made)

    done = gimp("view", "run", slide, "--score", score)

    assert done.exit_code == 0, done.output
    assert f"http://127.0.0.1:5000 shows {slide.name}" in done.stdout
    assert colours["high"][0] > colours["high"][2] + 50  # red
    assert colours["low"][2] > colours["low"][0] + 20  # blue
    assert colours["slide"] > 1
    assert contents(made) == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("gone", "{slide}"), 3, "'gone' does not exist"),
        (("other", "{slide}"), 3, "explains a run other than 'other'"),
        (("run", "slides/gone.svs"), 3, "no slide 'slides/gone.svs'"),
        (("run", "genes.h5ad"), 3, "has no store of slide 'genes.h5ad'"),
        (("run", "{slide}", "--explanation", "features"), 3, "'features' holds no explanation"),
        (("run", "{slide}", "--score", "occlusions"), 2, "Did you mean 'occlusion'?"),
        (("run", "{slide}", "--port", 0), 2, "0"),
    ],
)
@pytest.mark.usefixtures("served")
def test_what_cannot_be_shown_is_refused(made, slide, arguments, code, words):
    given = [str(one).format(slide=slide) for one in arguments]

    assert words in refused(made, code, "view", *given)


def test_a_slide_that_cannot_be_opened_and_a_store_without_scores_are_refused(
    made, slide, served, tmp_path
):
    broken = tmp_path / slide.name
    broken.write_bytes(b"no slide")
    why = tmp_path / "why"
    shutil.copytree("explanation", why)
    with sqlite3.connect(why / "patches" / f"{slide.stem}.db") as store:
        store.execute("UPDATE annotations SET properties = '{}'")
    store.close()

    opened = gimp("view", "run", broken)
    scored = gimp("view", "run", slide, "--explanation", why)

    assert (opened.exit_code, scored.exit_code) == (3, 3)
    assert "TIAToolbox cannot open" in opened.stderr
    assert "holds no scores of patches" in scored.stderr


class TakenSocket:
    """A socket of a machine on which another process has every port."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def setsockopt(self, *option):
        return None

    def bind(self, address):
        raise OSError(98, "Address already in use")


def test_a_port_in_use_is_told(monkeypatch, made, slide):
    monkeypatch.setattr(socket, "socket", TakenSocket)

    said = refused(made, 5, "view", "run", slide)

    assert "port 5000 cannot be served: Address already in use" in said
