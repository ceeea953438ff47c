"""Bags of other tools: read alike, lazily, and never trusted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pyarrow as pa
import pytest
import zarr
from pyarrow import parquet

from gimp_plugin.errors import BagError, MissingFileError, SafetyError
from gimp_plugin.storage.bags import list_bags, read_coords, read_features, read_info, scan_bags
from gimp_plugin.storage.bags.layouts import LAYOUTS
from gimp_plugin.storage.hdf5 import DamagedBagError
from tests.foreign_bags import (
    ENCODERS,
    MPP,
    READ_MPP,
    WRITERS,
    draw,
    stamp_h5,
    tiatoolbox_zarr,
    trident_h5,
    wsidata_zarr,
)

N, DIM = 29, 7


@pytest.fixture
def rows():
    return draw(N, DIM)


def edit_json(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def test_every_layout_but_ours_is_tried_here():
    assert {layout.name for layout in LAYOUTS} - {"gimp"} == set(WRITERS)


@pytest.mark.parametrize("layout", WRITERS)
def test_features_and_places_are_those_that_were_written(tmp_path, rows, layout):
    features, coords = rows

    info = read_info(WRITERS[layout](tmp_path, "TCGA-1.d4ff", features, coords))

    assert (info.layout, info.slide_id, info.n_patches, info.dim) == (
        layout, "TCGA-1.d4ff", N, DIM,
    )  # fmt: skip
    assert info.encoder == ENCODERS.get(layout)
    np.testing.assert_array_equal(read_features(info), features)
    np.testing.assert_array_equal(read_features(info, 5, 20), features[5:20])
    if layout != "clam-pt":
        found = read_coords(info, mpp=MPP, read_mpp=READ_MPP)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, coords)


@pytest.mark.parametrize("layout", WRITERS)
def test_the_fingerprint_is_of_the_content(tmp_path, rows, layout):
    features, coords = rows
    prints = []
    for index, change in enumerate((0, 0, 1)):
        folder = tmp_path / str(index)
        folder.mkdir()
        path = WRITERS[layout](folder, "a", features + np.float16(change), coords)
        prints.append(read_info(path).fingerprint)

    assert len(prints[0]) == 64
    if layout not in {"trident-h5", "stamp-h5", "clam-h5"}:  # HDF5 may differ in its padding
        assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_tridents_leading_axis_is_no_axis_of_ours(tmp_path, rows):
    features, coords = rows
    info = read_info(trident_h5(tmp_path, "a", features, coords, stacked=True, encoder="None"))

    assert (info.layout, info.n_patches, info.dim, info.encoder) == ("trident-h5", N, DIM, None)
    assert info.slide_size == (90_001, 70_003)
    np.testing.assert_array_equal(read_features(info, 3, 11), features[3:11])


def test_a_trident_slide_without_patches_says_so(tmp_path, rows):
    features, coords = rows
    for stacked in (False, True):
        path = trident_h5(tmp_path, f"a{stacked}", features[:0], coords[:0], stacked=stacked)
        with pytest.raises(BagError, match="has no patches"):
            read_info(path)


def test_a_slide_embedding_is_no_bag(tmp_path, rows):
    path = trident_h5(tmp_path, "a", rows[0], rows[1])
    with h5py.File(path, "r+") as file:
        del file["features"]
        file["features"] = np.zeros(768, "f4")
        file["features"].attrs["encoder"] = "mean-uni_v1"

    with pytest.raises(BagError, match=r"shape \(768,\), expected \(patches, dim\)"):
        read_info(path)


STAMP_AGES = {
    "newest": ({"unit": "um", "tile_size_um": 256.0, "tile_size_px": 224}, 1.0),
    "older": ({"unit": "um", "tile_size": 256.0}, 1.0),
    "oldest": ({"tile_size": 224}, 224 / 256),
    "no attributes": ({}, 224 / 256),
}


@pytest.mark.parametrize(("attributes", "unit"), STAMP_AGES.values(), ids=STAMP_AGES)
def test_stamp_files_of_any_age_give_the_same_pixels(tmp_path, attributes, unit):
    grid = np.array([[0, 0], [1, 0], [2, 3], [5, 3]])
    mpp = 0.5  # a tile of 256 micrometres is 512 pixels
    path = stamp_h5(
        tmp_path, "a", np.zeros((4, 3)), grid * 512, attributes=attributes, per_pixel=mpp * unit
    )

    info = read_info(path)

    np.testing.assert_array_equal(read_coords(info, mpp=mpp), grid * 512)
    np.testing.assert_array_equal(read_coords(info, mpp=mpp / 2), grid * 1024)


def test_a_stamp_file_whose_unit_nobody_knows_is_refused(tmp_path):
    grid = np.array([[0, 0], [100, 0]])
    path = stamp_h5(tmp_path, "a", np.zeros((2, 3)), grid, attributes={}, per_pixel=1)

    with pytest.raises(BagError, match=r"does not state the unit of its 'coords'.*stride of 100"):
        read_coords(read_info(path), mpp=0.5)


def test_features_of_patients_are_no_bag(tmp_path, rows):
    path = stamp_h5(tmp_path, "a", *rows, attributes={"feat_type": "patient"})

    with pytest.raises(BagError, match="holds features of a patient"):
        read_info(path)


@pytest.mark.parametrize(
    ("layout", "given", "lacking"),
    [
        ("stamp-h5", {}, "micrometres.*column mpp"),
        ("tiatoolbox-zarr", {}, "resolution of reading.*column mpp"),
        ("tiatoolbox-zarr", {"mpp": MPP}, "--read-mpp"),
    ],
)
def test_places_that_need_a_resolution_ask_for_it(tmp_path, rows, layout, given, lacking):
    info = read_info(WRITERS[layout](tmp_path, "a", *rows))

    with pytest.raises(BagError, match=lacking):
        read_coords(info, **given)
    assert read_features(info).shape == (N, DIM)  # which need none


def test_places_off_every_slide_are_refused(tmp_path, rows):
    features, coords = rows
    coords[4] = [2**33, 0]

    with pytest.raises(BagError, match=r"row 4 of 'coords' is \[8589934592, 0\]"):
        read_coords(read_info(trident_h5(tmp_path, "a", features, coords)))


def test_random_weights_of_tiatoolbox_are_warned_of_once(tmp_path, caplog):
    for name, dim in (("a", 2048), ("b", 2048), ("c", 512)):
        tiatoolbox_zarr(tmp_path, name, *draw(3, dim))

    assert len(list_bags(tmp_path)) == 3
    (record,) = caplog.records
    assert "2 of 3 bags" in record.message
    assert "random weights" in record.message


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_lazyslide_rows_find_their_tiles_by_id(tmp_path, rows, zarr_format):
    features, coords = rows
    path = wsidata_zarr(tmp_path, "a", features, coords, zarr_format=zarr_format)

    info = read_info(path)

    np.testing.assert_array_equal(read_coords(info), coords)
    np.testing.assert_array_equal(read_features(info, 2, 4), features[2:4])
    assert (info.patch_size_level0, info.attributes["patch_mpp"]) == (512, 0.5)


def test_a_single_lazyslide_tile_is_a_bag(tmp_path, rows):
    """Its id, 0, is stored as no chunk at all."""
    path = wsidata_zarr(tmp_path, "a", rows[0][:1], rows[1][:1])

    np.testing.assert_array_equal(read_coords(read_info(path)), rows[1][:1])


def test_several_models_of_lazyslide_are_named_and_not_chosen_from(tmp_path, rows):
    path = wsidata_zarr(tmp_path, "a", *rows, models=("uni", "conch"))

    with pytest.raises(BagError, match="features of 2 models: 'conch_tiles', 'uni_tiles'"):
        read_info(path)
    shutil.rmtree(path / "tables" / "conch_tiles")
    assert read_info(path).encoder == "uni"


def test_tiles_that_do_not_fit_are_refused(tmp_path, rows):
    features, coords = rows
    path = wsidata_zarr(tmp_path, "a", features, coords)
    table = path / "shapes" / "tiles" / "shapes.parquet"
    for tiles, problem in (
        ({"tile_id": [0, 1], "x": [0, 1], "y": [0, 1]}, "tile 2 is not in"),
        ({"tile_id": [0, 0], "x": [0, 1], "y": [0, 1]}, "is listed twice"),
        ({"tile_id": [0, 1], "x": [0, 1]}, "no column 'y'"),
    ):
        parquet.write_table(pa.table(tiles), table)
        with pytest.raises(BagError, match=problem):
            read_coords(read_info(path))
    table.write_bytes(b"PAR1 no")
    with pytest.raises(DamagedBagError, match=r"shapes\.parquet' is damaged"):
        read_coords(read_info(path))


def test_of_several_files_of_a_slide_the_one_that_tells_most_is_read(tmp_path, rows):
    for layout in ("clam-pt", "tiatoolbox-zarr", "clam-h5"):
        WRITERS[layout](tmp_path, "all", *rows)
    for layout in ("clam-pt", "tiatoolbox-zarr"):
        WRITERS[layout](tmp_path, "two", *rows)

    bags, errors = scan_bags(tmp_path)

    assert [(bag.slide_id, bag.layout) for bag in bags] == [
        ("all", "clam-h5"), ("two", "tiatoolbox-zarr"),
    ]  # fmt: skip
    assert not errors


def test_one_zarr_is_no_folder_of_bags(tmp_path, rows):
    with pytest.raises(BagError, match=r"is a single \.zarr.*the folder that contains it"):
        list_bags(tiatoolbox_zarr(tmp_path, "a", *rows))


def test_reading_rows_touches_their_chunks_only(tmp_path, rows):
    path = tiatoolbox_zarr(tmp_path, "a", *rows)
    info = read_info(path)
    for chunk in (path / "features" / "c").glob("*/0"):
        if chunk.parent.name != "1":
            chunk.write_bytes(b"damaged")

    np.testing.assert_array_equal(read_features(info, 8, 16), rows[0][8:16])
    with pytest.raises(DamagedBagError, match=r"a\.zarr': 'features' is damaged"):
        read_features(info, 8, 17)


def remove_a_chunk(path):
    (path / "features" / "c" / "2" / "0").unlink()


def cut_a_chunk(path):
    chunk = path / "features" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])


def cut_metadata(path):
    file = path / "features" / "zarr.json"
    file.write_bytes(file.read_bytes()[:40])


def negative_shape(path):
    edit_json(path / "features" / "zarr.json", shape=[-3, 7])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (remove_a_chunk, "'features' has 3 of 4 chunks"),
        (cut_a_chunk, "'features' is damaged"),
        (cut_metadata, "'features/zarr.json' cannot be read"),
        (negative_shape, "'features' cannot be read"),
    ],
)
def test_damage_of_a_zarr_is_named(tmp_path, rows, damage, problem):
    path = tiatoolbox_zarr(tmp_path, "a", *rows)
    read_features(read_info(path))
    damage(path)

    with pytest.raises(DamagedBagError, match=problem):
        read_features(read_info(path))


def link_a_chunk(path):
    chunk = path / "features" / "c" / "0" / "0"
    chunk.rename(path.parent / "elsewhere")
    chunk.symlink_to(path.parent / "elsewhere")


def link_the_array(path):
    shutil.move(path / "features", path.parent / "elsewhere")
    (path / "features").symlink_to(path.parent / "elsewhere")


def link_the_metadata(path):
    file = path / "features" / "zarr.json"
    file.rename(path.parent / "elsewhere")
    file.symlink_to(path.parent / "elsewhere")


def pipe_a_chunk(path):
    chunk = path / "features" / "c" / "0" / "0"
    chunk.unlink()
    os.mkfifo(chunk)


def terabytes(path):
    shutil.rmtree(path / "coordinates")
    edit_json(path / "features" / "zarr.json", shape=[1_900_000, 60_000])


def strange_codec(path):
    edit_json(path / "features" / "zarr.json", codecs=[{"name": "numcodecs.pickle"}])


def huge_chunks(path):
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**20, 2**14]}}
    edit_json(path / "features" / "zarr.json", chunk_grid=grid)


HOSTILE = {
    link_a_chunk: "is a link inside",
    link_the_array: "is a link inside",
    link_the_metadata: "is a link inside",
    pipe_a_chunk: "not a regular file",
    terabytes: "claims 456000000000 bytes",
    strange_codec: "uses the codec 'numcodecs.pickle'",
    huge_chunks: "has chunks of shape",
}


@pytest.mark.parametrize(("edit", "problem"), HOSTILE.items())
def test_a_hostile_zarr_is_refused_before_it_is_read(tmp_path, rows, edit, problem):
    path = tiatoolbox_zarr(tmp_path, "a", *rows)
    edit(path)

    with pytest.raises(SafetyError, match=problem) as caught:
        read_info(path)

    assert "a.zarr" in str(caught.value)
    assert caught.value.exit_code == 7


PACKERS = {
    "zstd": (zarr.codecs.ZstdCodec(), numcodecs.Zstd()),
    "blosc": (zarr.codecs.BloscCodec(), numcodecs.Blosc()),
    "gzip": (zarr.codecs.GzipCodec(), None),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_a_small_chunk_that_unpacks_to_much_is_refused(tmp_path, rows, packer):
    codec, pack = PACKERS[packer]
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("features", data=rows[0], chunks=(8, DIM), compressors=codec)
    chunk = tmp_path / "a.zarr" / "features" / "c" / "1" / "0"

    np.testing.assert_array_equal(
        read_features(read_info(tmp_path / "a.zarr"), 3, 20), rows[0][3:20]
    )
    if pack is None:
        chunk.write_bytes(bytes(5000))
    else:
        chunk.write_bytes(pack.encode(bytes(5000)))
        assert chunk.stat().st_size < 200

    with pytest.raises(SafetyError, match=r"c/1/0' claims 5000 bytes, but a chunk has 1136"):
        read_info(tmp_path / "a.zarr")


@pytest.mark.parametrize("compressor", [numcodecs.LZ4(), numcodecs.Zlib(), None])
def test_arrays_of_version_2_are_read_however_they_are_packed(tmp_path, rows, compressor):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("features", data=rows[0], chunks=(8, 3), compressors=compressor)

    np.testing.assert_array_equal(
        read_features(read_info(tmp_path / "a.zarr"), 3, 20), rows[0][3:20]
    )


def test_shards_are_read(tmp_path, rows):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("features", data=rows[0], chunks=(4, DIM), shards=(16, DIM))

    np.testing.assert_array_equal(
        read_features(read_info(tmp_path / "a.zarr"), 3, 20), rows[0][3:20]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]},
        {"filters": [{"id": "pickle", "protocol": 5}]},
        {"compressor": {"id": "json2"}},
    ],
)
def test_a_pickle_in_a_zarr_of_version_2_is_refused(tmp_path, rows, changes):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("features", data=rows[0], chunks=(8, DIM))
    info = read_info(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read_features(info, 7, 9), rows[0][7:9])
    edit_json(tmp_path / "a.zarr" / "features" / ".zarray", **changes)

    for read in (read_info, lambda _path: read_features(info)):
        with pytest.raises(SafetyError, match="it was not read"):
            read(tmp_path / "a.zarr")


def test_shapes_and_types_that_no_bag_has_are_refused(tmp_path, rows):
    path = tiatoolbox_zarr(tmp_path, "a", *rows)
    metadata = path / "features" / "zarr.json"
    good = metadata.read_text()
    for changes, problem in (
        ({"shape": [2_000_001, 7]}, "at most"),
        ({"shape": [0, 7]}, "has no patches"),
        ({"data_type": "string"}, "of type string, expected numbers"),
        ({"shape": [28, 7]}, r"'coordinates' has shape \(29, 4\), expected \(28, 4\)"),
    ):
        edit_json(metadata, **changes)
        with pytest.raises(BagError, match=problem):
            read_info(path)
        metadata.write_text(good)


def test_what_is_no_zarr_or_none_that_is_known_is_named(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "file.zarr").write_text("x")
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w").create_array("image", data=np.ones(3))

    for name, problem in (
        ("empty", "not a zarr folder"),
        ("file", "is not a folder"),
        ("other", "none of the known layouts: tiatoolbox-zarr, wsidata-zarr"),
    ):
        with pytest.raises(BagError, match=problem):
            read_info(tmp_path / f"{name}.zarr")
    with pytest.raises(MissingFileError, match=r"gone\.zarr"):
        read_info(tmp_path / "gone.zarr")


def test_links_in_foreign_hdf5_are_refused(tmp_path, rows):
    stamp_h5(tmp_path, "secret", *rows)
    with h5py.File(tmp_path / "stamp.h5", "w") as file:
        file["feats"] = h5py.ExternalLink("secret.h5", "/feats")
    with h5py.File(tmp_path / "trident.h5", "w") as file:
        file["features"] = h5py.SoftLink("/elsewhere")

    for name in ("stamp", "trident"):
        with pytest.raises(SafetyError, match="Link to another place"):
            read_info(tmp_path / f"{name}.h5")


def test_bags_are_read_without_torch(tmp_path, rows):
    paths = [WRITERS[name](tmp_path, name, *rows) for name in WRITERS if name != "clam-pt"]
    code = (
        "import sys; from pathlib import Path\n"
        "from gimp_plugin.storage.bags import read_features, read_info\n"
        "for path in sys.argv[1:]: read_features(read_info(Path(path)))\n"
        "assert 'torch' not in sys.modules and 'tiatoolbox' not in sys.modules\n"
    )
    root = Path(__file__).parents[1]

    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, cwd=root)
