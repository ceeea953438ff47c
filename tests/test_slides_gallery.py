"""Pictures of slides: where the tissue and the patches are, and a page of all of them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.storage.bags import list_bags, read_coords
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.test_slides_extraction import contents

SIZE = (1100, 900)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


def gimp(*arguments):
    options = ("--patch-encoder", "untrained", "--patch-size", "96", "--thumbnails")
    return CliRunner().invoke(cli, ["extract-features", "slides", *options, *arguments])


def picture(name):
    return cv2.cvtColor(cv2.imread(f"features/thumbnails/{name}.jpg"), cv2.COLOR_BGR2RGB)


class Page(HTMLParser):
    """Text, pictures and tags of a page."""

    def __init__(self, path):
        super().__init__()
        self.text, self.pictures, self.tags = "", [], []
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.pictures += [value for name, value in attrs if tag == "img" and name == "src"]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(("size", "scale"), [(SIZE, 1024 / 1100), ((500, 300), 1.0)])
def test_patches_are_tinted_where_they_lie_and_nothing_else(size, scale):
    box = (60, 40, size[0] // 2, size[1] // 2)
    make_slide(Path("slides/a.svs"), size, tissue=[box])

    gimp()

    drawn = picture("a").astype(int)
    (bag,) = list_bags(Path("features"))
    assert drawn.shape[1] == round(size[0] * scale)
    bluish = drawn[..., 2] - drawn[..., 0]
    for x, y in read_coords(bag).tolist():
        left, top = round(x * scale), round(y * scale)
        inside = bluish[top + 8 : top + round(88 * scale), left + 8 : left + round(88 * scale)]
        plain = 160 - 185  # blue less red of the tissue; the tint adds a quarter of the way to blue
        assert inside.mean() > plain + 20
    assert np.abs(bluish[-40:, -40:]).max() < 12  # glass is as it was


def test_the_outline_of_the_tissue_is_green():
    make_slide(Path("slides/a.svs"), SIZE, tissue=[(200, 150, 600, 500)])

    gimp()

    drawn = picture("a").astype(int)
    green = drawn[..., 1] - np.maximum(drawn[..., 0], drawn[..., 2]) > 20
    rows, columns = np.nonzero(green)
    scale = 1024 / 1100
    expected = np.array([150, 650, 200, 800]) * scale
    found = [rows.min(), rows.max(), columns.min(), columns.max()]
    np.testing.assert_allclose(found, expected, atol=16)  # the mask's pixels are 16 px wide


def test_the_page_shows_every_slide_and_says_which_failed_and_why():
    make_slide(Path("slides/ö #1?.svs"), (500, 460))
    make_slide(Path("slides/b.svs"), (500, 460), seed=1)
    Path("slides/<b>&bad.svs").write_text("404")
    make_slide(Path("slides/blank.svs"), (500, 460), tissue=[])

    result = gimp()

    page = Page("features/thumbnails/index.html")
    assert result.exit_code == 4
    assert sorted(map(unquote, page.pictures)) == ["b.jpg", "ö #1?.jpg"]
    for name in page.pictures:
        assert Path("features/thumbnails", unquote(name)).is_file()
    assert "<b>&bad" in page.text
    assert "no tissue found" in page.text
    assert "2 with features, 2 failed" in page.text
    assert "script" not in page.tags


def test_bags_that_were_there_get_their_pictures_and_are_not_made_again():
    make_slide(Path("slides/a.svs"), (500, 460))
    make_slide(Path("slides/b.svs"), (500, 460), seed=1)
    gimp()
    whole = contents("features")
    for name in ("a.jpg", "index.html"):
        Path("features/thumbnails", name).unlink()
    before = Path("features/a.h5").stat().st_mtime_ns

    result = gimp()

    assert result.exit_code == 0
    assert contents("features") == whole
    assert Path("features/a.h5").stat().st_mtime_ns == before


def test_the_same_command_again_changes_nothing():
    make_slide(Path("slides/a.svs"), (500, 460))
    gimp()
    before = {path: path.stat().st_mtime_ns for path in Path("features").rglob("*")}

    gimp()

    assert {path: path.stat().st_mtime_ns for path in Path("features").rglob("*")} == before


def test_without_the_option_there_are_no_pictures():
    make_slide(Path("slides/a.svs"), (500, 460))

    CliRunner().invoke(cli, ["extract-features", "slides", "--patch-encoder", "untrained"])

    assert not Path("features/thumbnails").exists()
