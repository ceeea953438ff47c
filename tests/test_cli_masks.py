"""`--masks` on the command line: which patches are taken, and what a lacking mask does."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import shapely
from PIL import Image

from gimp_plugin.storage.tables import read_csv
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.test_cli_extract_features import gimp, hashes, names

WIDTH, HEIGHT, SIDE = 1400, 1100, 256
BOX = (512, 256, 1024, 768)  # four patches


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)
    for name in ("a", "b"):
        make_slide(Path(f"slides/{name}.svs"), (WIDTH, HEIGHT))
    Path("masks").mkdir()
    for name in ("a", "b"):
        outline(name, BOX)


def outline(name, *boxes):
    shape = shapely.MultiPolygon([shapely.box(*box) for box in boxes])
    Path(f"masks/{name}.geojson").write_text(json.dumps(shapely.geometry.mapping(shape)))


def extract(*arguments):
    return gimp("slides", "--patch-encoder", "untrained", "--masks", "masks", *arguments)


def coords(name="a"):
    with h5py.File(f"features/{name}.h5") as file:
        return {tuple(row) for row in file["coords"][:].tolist()}


def attributes(name="a"):
    with h5py.File(f"features/{name}.h5") as file:
        return dict(file.attrs)


def message(item):
    return next(row for row in read_csv(Path("features/failures.csv")) if row["item"] == item)


def test_patches_are_those_of_the_mask():
    result = extract("--min-tissue", "0.5")

    assert result.exit_code == 0, result.output
    assert coords() == {(x, y) for x in (512, 768) for y in (256, 512)}
    told = attributes()
    assert (told["tissue_mask"], told["tissue_mask_file"]) == ("given", "a.geojson")
    assert len(told["tissue_mask_sha256"]) == 64
    share = 512 * 512 / (WIDTH * HEIGHT)
    assert told["tissue_mask_share"] == pytest.approx(share, rel=0.01)
    assert str(Path.cwd()) not in str(told)
    assert "nothing to do" in extract("--min-tissue", "0.5").output


def test_a_picture_of_the_same_mask_gives_the_same_patches():
    extract("--min-tissue", "0.5")
    outlined = coords()
    small = np.zeros((HEIGHT // 4, WIDTH // 4), np.uint8)
    small[64:192, 128:256] = 255
    Path("masks/a.geojson").unlink()
    Image.fromarray(small).save("masks/a.png")

    result = extract("--min-tissue", "0.5", "-o", "again")

    assert result.exit_code == 0, result.output
    with h5py.File("again/a.h5") as file:
        assert {tuple(row) for row in file["coords"][:].tolist()} == outlined


def test_clams_grid_begins_at_the_corner_of_each_piece():
    outline("a", (300, 200, 820, 460))

    result = extract("--geometry", "clam")

    assert result.exit_code == 0, result.output
    left, top = min(coords())
    assert abs(left - 300) <= 1
    assert abs(top - 200) <= 1
    assert attributes()["grid"] == "contours"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda: Path("masks/b.geojson").unlink(), "'slides/b.svs' has no mask in 'masks'"),
        (lambda: Path("masks/b.geojson").write_text("{"), "masks/b.geojson' is not GeoJSON"),
        (lambda: Path("masks/b.png").touch(), "several masks in 'masks': 'b.png', 'b.geojson'"),
        (lambda: outline("b", (5000, 5000, 6000, 6000)), "no tissue found"),
    ],
)
def test_a_slide_without_a_mask_fails_alone_and_is_done_when_there_is_one(damage, words):
    damage()
    before = hashes(Path("slides"))

    result = extract()

    row = message("b")
    assert result.exit_code == 4
    assert row["stage"] == "tissue"
    assert words in row["message"]
    assert "slides/b.svs" in row["message"]
    assert names("features") == ["a.h5", "failures.csv"]
    assert hashes(Path("slides")) == before

    Path("masks/b.png").unlink(missing_ok=True)
    outline("b", BOX)
    result = extract()

    assert result.exit_code == 0, result.output
    assert names("features") == ["a.h5", "b.h5"]


def test_no_absolute_path_of_a_mask_is_told():
    Path("masks/b.geojson").write_text("{")

    result = extract("--thumbnails")

    assert str(Path.cwd()) not in result.output
    for path in Path("features").rglob("*"):
        if path.suffix in {".csv", ".jsonl", ".html"}:
            assert str(Path.cwd()) not in path.read_text()
    assert "'masks/b.geojson' is not GeoJSON" in message("b")["message"]


def test_the_command_line_wins_over_a_settings_file():
    Path("s.toml").write_text('[options.extract-features]\nmasks = "masks"\n')

    result = gimp(
        "slides", "--patch-encoder", "untrained", "--tissue", "otsu", "--config", "s.toml"
    )

    assert result.exit_code == 0, result.output
    assert attributes()["tissue_mask"] == "otsu"


def test_a_picture_never_shows_the_mask_of_an_earlier_bag():
    extract("--thumbnails")
    before = Path("features/thumbnails/a.jpg").read_bytes()
    outline("a", (0, 0, 300, 300))

    extract("--overwrite")
    left = names("features/thumbnails")
    extract("--thumbnails")

    assert left == ["b.jpg", "index.html"]
    assert Path("features/thumbnails/a.jpg").read_bytes() != before


def test_a_bag_of_another_mask_is_kept_until_it_may_be_overwritten():
    extract()
    before = hashes(Path("features"))
    bags = before.keys()
    outline("a", (0, 0, 300, 300))

    result = extract()

    assert result.exit_code == 4
    assert "features/a.h5' was not made with the mask that is given" in message("a")["message"]
    after = hashes(Path("features"))
    assert [after[bag] for bag in bags if bag.suffix == ".h5"] == [
        before[bag] for bag in bags if bag.suffix == ".h5"
    ]
    assert extract("--overwrite").exit_code == 0
    assert coords() == {(0, 0)}


def test_bags_by_masks_and_by_a_method_are_not_mixed():
    extract()

    result = gimp("slides", "--patch-encoder", "untrained")

    assert result.exit_code == 3
    assert "tissue is 'given' there and 'otsu' here" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--masks", "masks", "--tissue", "clam"), "give --tissue or --masks, not both"),
        (("--tissue", "given"), "tissue = 'given' needs masks"),
        (("--masks", "absent"), "'absent' does not exist"),
    ],
)
def test_wrong_usage_is_told(arguments, words):
    result = gimp("slides", "--patch-encoder", "untrained", *arguments)

    assert result.exit_code == 2
    assert words in result.stderr
    assert not Path("features").exists()


def test_a_dry_run_counts_the_patches_of_the_masks():
    Path("masks/b.geojson").unlink()

    result = extract("--dry-run", "--min-tissue", "0.5")

    assert "a: 4 patches" in result.output
    assert "b: would fail: 'slides/b.svs' has no mask" in result.output
    assert result.exit_code == 4
    assert not Path("features").exists()


def test_the_picture_shows_the_masks_outline():
    result = extract("--thumbnails", "--min-tissue", "0.5")

    assert result.exit_code == 0, result.output
    picture = np.asarray(Image.open("features/thumbnails/a.jpg")).astype(int)
    scale = picture.shape[1] / WIDTH
    x, y = round(640 * scale), round(256 * scale)
    around = picture[y - 3 : y + 4, x - 20 : x + 21]
    greenness = (around[..., 1] - around[..., [0, 2]].mean(axis=2)).mean(axis=1)
    assert greenness.argmax() in {2, 3, 4}  # the tissue itself is purple
    assert greenness.max() > 0 > greenness.min()
