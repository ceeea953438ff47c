"""Masks that were made elsewhere, against shapely, numpy, and what TIAToolbox itself writes."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from zlib import compress as zipped

import dask.array as da
import numpy as np
import pytest
import shapely
import zarr
from PIL import Image

from gimp_plugin.errors import SafetyError
from gimp_plugin.slides.finding import SlideFile
from gimp_plugin.slides.masks import TissueMaskError, find_mask, mask_sha256, outlines, pixels
from gimp_plugin.slides.masks import read_mask as read_any
from tests.toolbox_stores import toolbox_store

WIDTH, HEIGHT = 701, 503
RING = [(100.5, 60.2), (520.1, 90.7), (600.3, 400.9), (300.6, 470.4), (80.2, 300.8)]
HOLE = [(250.0, 150.0), (400.0, 170.0), (380.0, 300.0), (260.0, 280.0)]
ISLAND = [(300.0, 200.0), (340.0, 200.0), (340.0, 240.0), (300.0, 240.0)]
FAR = [(630.0, 20.0), (760.0, 20.0), (760.0, 110.0), (630.0, 110.0)]  # over the slide's edge


def read_mask(path, *, width=WIDTH, height=HEIGHT):
    return read_any(path, width=width, height=height)


def labels(shape=(63, 88)):
    """Two kinds of tissue on glass, at an eighth of the slide's resolution."""
    found = np.zeros(shape, np.uint8)
    found[5:40, 10:50] = 1
    found[30:60, 60:80] = 2
    return found


def feature(geometry, *, kind="annotation", name="Tissue", **more):
    properties = {"classification": {"name": name, "color": [200, 0, 0]}}
    return {
        "type": "Feature", "id": "PathAnnotationObject", "objectType": kind,
        "geometry": shapely.geometry.mapping(geometry), "properties": properties, **more,
    }  # fmt: skip


def geojson(folder: Path, *features) -> Path:
    path = folder / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def assert_drawn(mask, shape, *, width=WIDTH, height=HEIGHT):
    """Each pixel of a mask is tissue if its middle is, those that the outline touches apart."""
    rows, columns = mask.mask.shape
    x, y = np.meshgrid(
        (np.arange(columns) + 0.5) / mask.scale[0], (np.arange(rows) + 0.5) / mask.scale[1]
    )
    edge = shape.boundary.buffer(1.5 / min(mask.scale))
    clear = ~shapely.intersects_xy(edge, x, y)
    np.testing.assert_array_equal(mask.mask[clear], shapely.contains_xy(shape, x, y)[clear])
    assert clear.mean() > 0.9
    assert abs(mask.scale[0] * width - columns) < 1e-9
    assert abs(mask.scale[1] * height - rows) < 1e-9


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGB", "RGBA"])
def test_pictures_of_every_kind_are_the_same_mask(tmp_path, mode):
    found = labels()
    picture = Image.fromarray(found * 90)
    if mode == "I;16":
        picture = Image.fromarray(found.astype(np.uint16) * 20_000)
    elif mode == "P":
        picture = Image.fromarray(found, mode="P")
        picture.putpalette([9, 200, 7, 0, 0, 0, 50, 50, 50])
    elif mode in {"LA", "RGBA"}:
        picture = Image.fromarray(np.full_like(found, 200)).convert(mode)
        picture.putalpha(Image.fromarray((found > 0) * np.uint8(255)))
    else:
        picture = Image.fromarray((found > 0) * np.uint8(255)).convert(mode)
    picture.save(tmp_path / "a.png")

    mask = read_mask(tmp_path / "a.png")

    np.testing.assert_array_equal(mask.mask, found > 0)
    assert mask.scale == (88 / WIDTH, 63 / HEIGHT)
    assert mask.about["share"] == pytest.approx((found > 0).mean())


def test_arrays_of_labels_and_of_probabilities_are_the_same_mask(tmp_path):
    found = labels()
    np.save(tmp_path / "labels.npy", found.astype(np.int64))
    one_hot = np.eye(3, dtype=np.float32)[found] * 0.6 + 0.1
    np.save(tmp_path / "chances.npy", one_hot)

    np.testing.assert_array_equal(read_mask(tmp_path / "labels.npy").mask, found > 0)
    np.testing.assert_array_equal(read_mask(tmp_path / "chances.npy").mask, found > 0)


def test_colours_that_a_png_declares_transparent_are_no_tissue(tmp_path):
    found = labels()
    palette = Image.fromarray(found, mode="P")
    palette.putpalette([0, 0, 0, 9, 200, 7, 50, 50, 50])
    palette.save(tmp_path / "index.png", transparency=2)
    palette.save(tmp_path / "table.png", transparency=b"\xff\x00\x80")
    colours = np.zeros((*found.shape, 3), np.uint8)
    colours[found == 1], colours[found == 2] = (9, 200, 7), (50, 50, 50)
    Image.fromarray(colours).save(tmp_path / "rgb.png", transparency=(50, 50, 50))
    Image.fromarray(found * 90).save(tmp_path / "grey.png", transparency=90)

    for name, kept in {"index": 1, "table": 2, "rgb": 1, "grey": 2}.items():
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png").mask, found == kept)


def test_an_array_of_one_channel_is_one_of_labels_and_nan_is_no_tissue(tmp_path):
    found = labels().astype(np.float32)
    found[50:55] = np.nan
    np.save(tmp_path / "a.npy", found[..., None])

    np.testing.assert_array_equal(read_mask(tmp_path / "a.npy").mask, found > 0)


@pytest.mark.parametrize("kind", ["png", "npy", "zarr"])
def test_a_large_mask_is_thinned_out(tmp_path, monkeypatch, kind):
    rng = np.random.default_rng(0)
    found = rng.integers(0, 2, (5030, 701)).astype(np.uint8)
    path = tmp_path / f"a.{kind}"
    if kind == "png":
        Image.fromarray(found).save(path)
    elif kind == "npy":
        np.save(path, found)
    else:
        da.from_array(found, chunks=(777, 99)).to_zarr(str(path), component="predictions")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 700_000)

    mask = read_mask(path, width=1402, height=10_060)

    np.testing.assert_array_equal(mask.mask, found[::3, ::3] > 0)
    assert mask.scale == pytest.approx((1 / 6, 1 / 6))


def test_areas_are_drawn_with_holes_and_what_lies_in_them(tmp_path):
    whole = shapely.Polygon(RING, [HOLE])
    island, far = shapely.Polygon(ISLAND), shapely.Polygon(FAR)
    path = geojson(tmp_path, feature(shapely.MultiPolygon([island, far])), feature(whole))

    mask = read_mask(path)

    assert_drawn(mask, shapely.union_all([whole, island, far]))
    assert mask.about["n_areas"] == 3


def test_the_order_of_areas_and_the_spelling_of_a_file_do_not_matter(tmp_path):
    whole, island = shapely.Polygon(RING, [HOLE]), shapely.Polygon(ISLAND)
    first = read_mask(geojson(tmp_path, feature(whole), feature(island))).mask
    spelt = [
        [feature(island), feature(whole)],
        feature(shapely.GeometryCollection([island, shapely.Point(5, 5), whole])),
        shapely.geometry.mapping(shapely.MultiPolygon([whole, island])),
    ]

    for number, content in enumerate(spelt):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(content))
        np.testing.assert_array_equal(read_mask(path).mask, first)


def test_ignored_areas_are_cut_out_and_cells_and_points_are_no_tissue(tmp_path):
    whole, hole = shapely.Polygon(RING), shapely.Polygon(HOLE)
    path = geojson(
        tmp_path,
        feature(hole, name="Ignore*"),
        feature(whole),
        feature(shapely.Polygon(FAR), kind="detection"),
        feature(shapely.Point(650, 60)),
        feature(shapely.LineString([(0, 0), (700, 500)])),
        {"type": "Feature", "geometry": None, "properties": None},
    )

    assert_drawn(read_mask(path), whole - hole)


def test_a_byte_order_mark_and_classes_of_several_names_are_understood(tmp_path):
    whole, hole = shapely.Polygon(RING), shapely.Polygon(HOLE)
    ignored = feature(hole)
    ignored["properties"]["classification"] = {"names": ["Ignore*", "fold"]}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature(whole), ignored]), encoding="utf-8-sig")

    assert_drawn(read_mask(path), whole - hole)


def test_outlines_of_a_large_slide_are_drawn_coarser(tmp_path, monkeypatch):
    monkeypatch.setattr(outlines, "MAX_PIXELS", 50_000)
    path = geojson(tmp_path, feature(shapely.Polygon(RING, [HOLE])))

    mask = read_mask(path)

    assert 48_000 < mask.mask.size <= 50_000
    rows, columns = mask.mask.shape
    x, y = np.meshgrid(
        (np.arange(columns) + 0.5) / mask.scale[0], (np.arange(rows) + 0.5) / mask.scale[1]
    )
    inside = shapely.contains_xy(shapely.Polygon(RING, [HOLE]), x, y)
    assert (inside != mask.mask).mean() < 0.02


def test_a_store_is_the_mask_that_its_areas_are_as_geojson(tmp_path):
    whole, island = shapely.Polygon(RING, [HOLE]), shapely.Polygon(ISLAND)
    toolbox_store(
        tmp_path / "a.db", [(whole, {"type": "x"}), (island, {}), (shapely.Point(1, 1), {})]
    )

    mask = read_mask(tmp_path / "a.db")

    expected = read_mask(geojson(tmp_path, feature(whole), feature(island)))
    np.testing.assert_array_equal(mask.mask, expected.mask)


def test_an_unpacked_store_is_read_as_well(tmp_path):
    toolbox_store(tmp_path / "a.db", [(shapely.Polygon(RING), {})], compression=None)

    assert_drawn(read_mask(tmp_path / "a.db"), shapely.Polygon(RING))


@pytest.mark.tiatoolbox
@pytest.mark.parametrize("output_type", ["annotationstore", "qupath"])
def test_what_the_semantic_segmentor_writes_is_one_mask_in_each_of_its_forms(tmp_path, output_type):
    from tiatoolbox.utils.misc import dict_to_store_semantic_segmentor

    from tests.toolbox_stores import compiled, left_open

    found = labels()
    da.from_array(found, chunks=(20, 30)).to_zarr(str(tmp_path / "a.zarr"), component="predictions")
    scale = (WIDTH / 88, HEIGHT / 63)
    with compiled(), left_open():
        written = dict_to_store_semantic_segmentor(
            {"predictions": found}, scale, output_type, save_path=tmp_path / "a", verbose=False
        )

    direct, outlined = read_mask(tmp_path / "a.zarr").mask, read_mask(written)

    np.testing.assert_array_equal(direct, found > 0)
    rows, columns = outlined.mask.shape
    nearest = direct[np.arange(rows) * 63 // rows][:, np.arange(columns) * 88 // columns]
    assert (nearest != outlined.mask).mean() < 0.03  # its outlines go through the pixels' middles
    assert outlined.about["n_areas"] == 2  # the background, its class 0, is none


def test_a_mask_is_found_by_the_slides_id_or_by_its_files_name(tmp_path):
    slide = SlideFile(tmp_path / "a.b.svs", "a.b")
    (tmp_path / "a.b.svs.geojson").touch()

    assert find_mask(tmp_path, slide).name == "a.b.svs.geojson"
    (tmp_path / "a.b.svs.geojson").rename(tmp_path / "a.b.png")
    assert find_mask(tmp_path, slide).name == "a.b.png"
    (tmp_path / "a.png").touch()
    (tmp_path / "a.b.zarr").mkdir()
    with pytest.raises(TissueMaskError, match=r"several masks .*'a.b.png', 'a.b.zarr'"):
        find_mask(tmp_path, slide)
    with pytest.raises(TissueMaskError, match=r"has no mask in") as caught:
        find_mask(tmp_path, SlideFile(tmp_path / "c.svs", "c"))
    assert "expected c and one of .png" in caught.value.hint


def test_slides_that_share_a_files_name_share_no_mask(tmp_path):
    (tmp_path / "A.svs.png").touch()

    assert find_mask(tmp_path, SlideFile(tmp_path / "A.svs", "A")).name == "A.svs.png"
    with pytest.raises(TissueMaskError, match="has no mask"):
        find_mask(tmp_path, SlideFile(tmp_path / "A.svs", "A-5a2504"))


def test_a_name_that_is_too_long_for_a_mask_has_none(tmp_path):
    name = "ü" * 125 + "a"

    with pytest.raises(TissueMaskError, match="has no mask"):
        find_mask(tmp_path, SlideFile(tmp_path / f"{name}.svs", name))


@pytest.mark.parametrize(("name", "kind"), [("a.geojson", "a folder"), ("a.zarr", "no folder")])
def test_a_folder_is_a_mask_only_as_a_zarr(tmp_path, name, kind):
    path = tmp_path / name
    path.mkdir() if kind == "a folder" else path.touch()

    with pytest.raises(TissueMaskError, match=f"{name}' is {kind}"):
        find_mask(tmp_path, SlideFile(tmp_path / "a.svs", "a"))


def test_the_hash_is_that_of_content_and_of_names_within_a_folder(tmp_path):
    for name in ("a", "b"):
        zarr.save(str(tmp_path / f"{name}.zarr"), labels())
    first = mask_sha256(tmp_path / "a.zarr")

    assert first == mask_sha256(tmp_path / "b.zarr")
    chunk = tmp_path / "b.zarr/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    assert first != mask_sha256(tmp_path / "b.zarr")


def text(content):
    return lambda path: path.write_text(content)


def array(values):
    return lambda path: np.save(path, values, allow_pickle=True)


def cut_png(path):
    noise = np.random.default_rng(0).integers(0, 256, (63, 88), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def cut_zarr(path):
    zarr.save(str(path), np.random.default_rng(0).random((63, 88)))
    chunk = max((each for each in path.rglob("*") if each.is_file()), key=os.path.getsize)
    chunk.write_bytes(chunk.read_bytes()[:99])


def store(path, statement=None):
    if statement is None or "UPDATE" in statement:
        toolbox_store(path, [(shapely.Polygon(RING), {})])
    if statement is not None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)


def open_store(path):
    store(path)
    path.with_name("a.db-wal").write_bytes(b"x")


POLYGON = json.dumps(shapely.geometry.mapping(shapely.Polygon(RING)))


DAMAGED = {
    "text": ("a.png", text("no mask"), "is not a PNG, or is damaged"),
    "cut": ("a.png", cut_png, "is not a PNG, or is damaged"),
    "turned": (
        "a.png",
        lambda path: Image.fromarray(labels().T.copy()).save(path),
        "has 63 x 88 pixels, another shape than the slide (701 x 503)",
    ),
    "npy of text": ("a.npy", text("no mask"), "is not an array of numbers"),
    "npy of one axis": ("a.npy", array(labels().ravel()), "has shape (5544,)"),
    "npy of words": ("a.npy", array(np.array([["a"]])), "has shape (1, 1) and type <U1"),
    "npy of objects": (
        "a.npy", array(np.array([[{}]], object)), "not an array of numbers: Array can't be memory",
    ),
    "npy of a broken head": (
        "a.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((   "),
        "a.npy' ",
    ),
    "huge integer": (
        "a.geojson", text(POLYGON.replace("100.5", "1" * 400)), "a.geojson' ",
    ),
    "zarr without": (
        "a.zarr", lambda path: zarr.open_group(str(path), mode="w"), "has no array 'predictions'",
    ),
    "zarr cut": ("a.zarr", cut_zarr, "is damaged"),
    "html": ("a.geojson", text("<html>"), "is not GeoJSON, or is damaged"),
    "no feature": (
        "a.geojson", text('{"type": "FeatureCollection", "features": []}'), "contains no area",
    ),
    "point": ("a.geojson", text('{"type": "Point", "coordinates": [3, 4]}'), "contains no area"),
    "nan": (
        "a.geojson", text(POLYGON.replace("100.5", "NaN")), "is not GeoJSON, or is damaged: ",
    ),
    "words": ("a.geojson", text('{"type": "Polygon", "coordinates": ["x"]}'), "is not GeoJSON, or"),
    "deep": ("a.geojson", text("[" * 100_000), "is not GeoJSON, or is damaged"),
    "db of text": (
        "a.db", text("no mask"), "not an annotation store, or is damaged: file is not a database",
    ),
    "other db": ("a.db", lambda path: store(path, "CREATE TABLE x (y)"), "damaged: no such table"),
    "db shape": (
        "a.db",
        lambda path: store(path, f"UPDATE annotations SET geometry = x'{zipped(b'x').hex()}'"),
        "is not an annotation store, or is damaged: ",
    ),
    "db geometry": (
        "a.db",
        lambda path: store(path, "UPDATE annotations SET geometry = x'0102'"),
        "is not an annotation store, or is damaged",
    ),
    "open db": ("a.db", open_store, "is in use: 'a.db-wal' is next to it"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "write", "message"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_mask_is_refused_by_name(tmp_path, name, write, message):
    write(tmp_path / name)

    with pytest.raises(TissueMaskError) as caught:
        read_mask(tmp_path / name)

    assert message in caught.value.problem
    assert str(tmp_path / name) in caught.value.problem


def test_links_within_a_zarr_and_pipes_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"x" * 100)
    zarr.save(str(tmp_path / "a.zarr"), labels())
    chunk = tmp_path / "a.zarr/c/0/0"
    chunk.unlink()
    chunk.symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "b.png")

    for read in (read_mask, mask_sha256):
        with pytest.raises((SafetyError, TissueMaskError), match=r"link|not a regular file"):
            read(tmp_path / "a.zarr")
    with pytest.raises(TissueMaskError, match="not a regular file"):
        mask_sha256(tmp_path / "b.png")


def test_a_geometry_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(outlines, "MAX_GEOMETRY_BYTES", 64)
    toolbox_store(tmp_path / "a.db", [(shapely.Polygon(RING, [HOLE]), {})])

    with pytest.raises(TissueMaskError, match="a geometry has more than 64 bytes"):
        read_mask(tmp_path / "a.db")
