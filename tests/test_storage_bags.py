"""Bags: what is written is read again, and what is no bag is refused by name."""

from __future__ import annotations

import errno
import os

import anndata
import h5py
import numpy as np
import pytest

from gimp_plugin import keys
from gimp_plugin.errors import (
    BagError,
    LockedError,
    MissingFileError,
    ResourceError,
    SafetyError,
)
from gimp_plugin.storage import hdf5
from gimp_plugin.storage.bags import (
    BagWriter,
    list_bags,
    read_coords,
    read_features,
    read_info,
    scan_bags,
)
from gimp_plugin.storage.hdf5 import DamagedBagError

N, DIM = 1234, 7


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(N, DIM)).astype(np.float16)
    return features, rng.integers(0, 9999, (N, 2), dtype=np.int32)


def write_bag(path, features, coords, *, batch=100, **attributes):
    with BagWriter(path, dim=features.shape[1], attributes=attributes, n_patches=N) as bag:
        for start in range(0, len(features), batch):
            bag.append(features[start : start + batch], coords[start : start + batch])
    return path


def write_h5(path, features, coords=None, **attributes):
    with h5py.File(path, "w") as file:
        file["features"] = features
        if coords is not None:
            file["coords"] = coords
        file.attrs.update(attributes)
    return path


def change(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)


def test_a_bag_holds_what_was_written(tmp_path, rows):
    path = write_bag(
        tmp_path / "a.b.h5", *rows, encoder="e", encoder_weights_sha256="0123456789abcdef"
    )

    info = read_info(path)

    assert (info.slide_id, info.n_patches, info.dim) == ("a.b", N, DIM)
    assert info.encoder == "e@0123456789ab"
    np.testing.assert_array_equal(read_features(info), rows[0])
    np.testing.assert_array_equal(read_coords(info), rows[1])


def test_a_window_is_those_rows(tmp_path, rows):
    info = read_info(write_bag(tmp_path / "a.h5", *rows))

    window = read_features(info, 500, 703)

    np.testing.assert_array_equal(window, rows[0][500:703])


def test_the_layout_is_that_of_the_format(tmp_path, rows):
    with h5py.File(write_bag(tmp_path / "a.h5", *rows)) as file:
        features, coords = file["features"], file["coords"]

        assert (features.dtype, features.chunks, features.compression) == ("<f2", (512, DIM), None)
        assert (coords.dtype, coords.chunks) == ("<i4", (512, 2))
        assert features.fletcher32
        assert coords.fletcher32
        assert (file.attrs["format"], file.attrs["format_version"]) == ("gimp.features", 1)
        assert file.attrs["complete"]


def test_bytes_do_not_depend_on_the_batches(tmp_path, rows):
    paths = [write_bag(tmp_path / f"{batch}.h5", *rows, batch=batch) for batch in (1, 512, 700, N)]

    assert len({path.read_bytes() for path in paths}) == 1


def test_the_fingerprint_is_that_of_the_content(tmp_path, rows):
    features, coords = rows
    one = read_info(write_bag(tmp_path / "one.h5", features, coords, note="x"))
    same = read_info(write_bag(tmp_path / "same.h5", features, coords, note="y"))
    other = read_info(write_bag(tmp_path / "other.h5", features + 1, coords))

    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != other.fingerprint


def test_an_error_leaves_nothing_behind(tmp_path, rows):
    def broken_batches():
        yield rows
        raise KeyboardInterrupt

    def write():
        with BagWriter(tmp_path / "a.h5", dim=DIM, attributes={}) as bag:
            for batch in broken_batches():
                bag.append(*batch)

    with pytest.raises(KeyboardInterrupt):
        write()

    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_earlier_bag_as_it_was(tmp_path, rows):
    path = write_bag(tmp_path / "a.h5", *rows)
    before = path.read_bytes()

    with pytest.raises(BagError, match="no patches"), BagWriter(path, dim=DIM, attributes={}):
        pass

    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [7e4, np.nan, np.inf])
def test_what_is_not_finite_in_float16_is_refused_with_its_place(tmp_path, value):
    features = np.zeros((3, DIM), np.float32)
    features[1, 2] = value
    coords = np.array([[0, 0], [512, 256], [1, 1]])

    with (
        pytest.raises(BagError, match=r"patch at \(512, 256\)"),
        BagWriter(tmp_path / "a.h5", dim=DIM, attributes={}) as bag,
    ):
        bag.append(features, coords)

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_space)

    writer = BagWriter(tmp_path / "a.h5", dim=1024, attributes={}, n_patches=10**6)
    with pytest.raises(ResourceError, match=r"20\d+\.\d MB, \d+\.\d MB are left"), writer:
        pass

    assert list(tmp_path.iterdir()) == []


def test_room_that_was_not_used_is_given_back(tmp_path, rows):
    features, coords = rows
    small = tmp_path / "small.h5"
    with BagWriter(small, dim=DIM, attributes={}, n_patches=10**6) as bag:
        bag.append(features[:5], coords[:5])

    assert small.stat().st_size < 30_000


def test_clam_files_are_bags(tmp_path, rows):
    features, coords = rows
    path = write_h5(tmp_path / "TCGA-05.uuid.h5", features.astype(np.float32), coords)

    info = read_info(path)

    assert (info.slide_id, info.encoder, info.n_patches) == ("TCGA-05.uuid", None, N)
    assert read_features(info).dtype == np.float32
    assert len(info.fingerprint) == 64
    np.testing.assert_array_equal(read_coords(info), coords)


def test_attributes_of_foreign_datasets_are_seen(tmp_path, rows):
    path = write_h5(tmp_path / "a.h5", *rows)

    def edit(file):
        file["features"].attrs["encoder"] = "uni_v1"
        file["coords"].attrs["patch_size_level0"] = 512

    change(path, edit)

    info = read_info(path)

    assert info.encoder == "uni_v1"
    assert info.attributes["patch_size_level0"] == 512


def test_other_number_types_become_float32(tmp_path, rows):
    doubles = rows[0].astype(np.float64)

    read = read_features(read_info(write_h5(tmp_path / "a.h5", doubles, rows[1])))

    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, doubles.astype(np.float32))


def test_a_bag_without_coords_says_so_when_they_are_asked_for(tmp_path, rows):
    info = read_info(write_h5(tmp_path / "a.h5", rows[0]))

    assert not info.has_coords
    with pytest.raises(BagError, match="no dataset 'coords'"):
        read_coords(info)


def test_a_value_that_is_not_finite_is_named_by_its_row(tmp_path, rows):
    features, coords = rows
    features[600, 1] = np.nan
    info = read_info(write_h5(tmp_path / "sick.h5", features, coords))

    with pytest.raises(BagError, match=r"sick\.h5.*row 600 of 'features'"):
        read_features(info, 512, 700)


@pytest.mark.parametrize(
    ("features", "coords", "message"),
    [
        (np.zeros((3, 4, 5)), np.zeros((3, 2)), r"shape \(3, 4, 5\)"),
        (np.zeros((3,)), np.zeros((3, 2)), r"shape \(3,\)"),
        (np.zeros((3, 5)), np.zeros((4, 2)), r"'coords' has shape \(4, 2\), expected \(3, 2\)"),
        (np.zeros((0, 5)), np.zeros((0, 2)), "no patches"),
        (np.array([[b"a", b"b"]]), np.zeros((1, 2)), "expected numbers"),
    ],
)
def test_wrong_shapes_and_types_are_refused(tmp_path, features, coords, message):
    path = write_h5(tmp_path / "odd.h5", features, coords)

    with pytest.raises(BagError, match=message) as caught:
        read_info(path)

    assert "odd.h5" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("limit", ["MAX_PATCHES", "MAX_DIM"])
def test_sizes_that_no_slide_has_are_refused(tmp_path, rows, monkeypatch, limit):
    path = write_bag(tmp_path / "a.h5", *rows)
    monkeypatch.setattr(f"gimp_plugin.storage.bags.info.{limit}", 6)

    with pytest.raises(BagError, match=r"a\.h5.*shape \(1234, 7\), expected at most"):
        read_info(path)


def test_a_group_is_no_dataset(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("features")

    with pytest.raises(BagError, match="a group 'features' where a dataset"):
        read_info(tmp_path / "a.h5")


def test_a_file_that_is_being_written_is_left_to_its_writer(tmp_path, rows, monkeypatch):
    path = write_bag(tmp_path / "a.h5", *rows)

    def busy(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(h5py, "File", busy)
    clock = Clock(monkeypatch)

    with pytest.raises(
        LockedError, match="still open for writing in another process after 30"
    ) as caught:
        read_info(path)
    assert caught.value.exit_code == 6
    assert clock.slept == 30


def test_a_file_whose_writer_ends_is_read(tmp_path, rows, monkeypatch):
    path = write_bag(tmp_path / "a.h5", *rows)
    expected, real = read_info(path), h5py.File
    clock = Clock(monkeypatch)

    def busy_at_first(*arguments, **options):
        if clock.slept < 7:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*arguments, **options)

    monkeypatch.setattr(h5py, "File", busy_at_first)

    assert read_info(path) == expected
    assert clock.slept == 7


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, monkeypatch):
        self.slept = 0.0
        monkeypatch.setattr(hdf5.time, "monotonic", lambda: self.slept)
        monkeypatch.setattr(hdf5.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.slept += seconds


def test_a_file_without_features_says_what_it_has(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tiles"] = [1]

    with pytest.raises(BagError, match=r"no dataset 'features', only \['tiles'\]"):
        read_info(tmp_path / "a.h5")


def test_an_anndata_file_is_called_one(tmp_path):
    path = tmp_path / "genes.h5"
    anndata.AnnData(np.ones((3, 5), np.float32)).write_h5ad(path)

    with pytest.raises(BagError, match="AnnData"):
        read_info(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: file.attrs.__delitem__("complete"), "not finished"),
        (lambda file: file.attrs.__setitem__("format_version", 2), "version 2 .* reads version 1"),
        (lambda file: file.attrs.__setitem__("format", "gimp.run"), "'gimp.run' file"),
    ],
)
def test_unfinished_newer_and_other_files_of_ours_are_refused(tmp_path, rows, edit, message):
    path = write_bag(tmp_path / "a.h5", *rows)
    change(path, edit)

    with pytest.raises(BagError, match=message):
        read_info(path)


def test_links_to_other_places_are_refused(tmp_path, rows):
    write_h5(tmp_path / "other.h5", *rows)
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["features"] = h5py.SoftLink("/elsewhere")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["features"] = h5py.ExternalLink("other.h5", "/features")

    for name in ("soft.h5", "external.h5"):
        with pytest.raises(SafetyError, match=rf"{name}.*Link") as caught:
            read_info(tmp_path / name)
        assert caught.value.exit_code == 7


def test_bytes_of_other_files_are_not_shown(tmp_path, rows):
    (tmp_path / "secret").write_bytes(b"x" * 4096)
    write_h5(tmp_path / "other.h5", *rows)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("features", (4, 5), "f4", external=[(str(tmp_path / "secret"), 0, 80)])
    layout = h5py.VirtualLayout((N, DIM), "f2")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "features", (N, DIM))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("features", layout)

    for name in ("external.h5", "virtual.h5"):
        with pytest.raises(SafetyError, match="other files"):
            read_info(tmp_path / name)


def test_objects_are_not_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("features", (3, 2), h5py.string_dtype())

    with pytest.raises(SafetyError, match="objects"):
        read_info(tmp_path / "a.h5")


def test_a_small_file_that_claims_terabytes_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("features", (10**9, 1024), "f4", chunks=(512, 1024))

    with pytest.raises(SafetyError, match="claims 4096000000000 bytes"):
        read_info(tmp_path / "a.h5")


def test_rows_that_were_never_written_are_missed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        features = file.create_dataset("features", (1024, 8), "f2", chunks=(512, 8))
        features[:512] = 1

    with pytest.raises(DamagedBagError, match="stores 8192 of 16384 bytes"):
        read_info(tmp_path / "a.h5")


def test_a_flipped_byte_is_found(tmp_path, rows):
    path = write_bag(tmp_path / "a.h5", *rows)
    data = bytearray(path.read_bytes())
    place = data.index(rows[0][:1].tobytes())
    data[place] ^= 1
    path.write_bytes(data)

    with pytest.raises(DamagedBagError, match=r"a\.h5.*damaged"):
        read_features(read_info(path))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_called_damaged(tmp_path, rows, share):
    path = write_bag(tmp_path / "a.h5", *rows)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(DamagedBagError, match=r"a\.h5"):
        read_info(path)


def test_what_is_no_hdf5_or_no_file_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    os.mkfifo(tmp_path / "pipe.h5")

    with pytest.raises(BagError, match="not an HDF5 file"):
        read_info(tmp_path / "text.h5")
    for name in ("folder.h5", "pipe.h5"):
        with pytest.raises(BagError, match="not a regular file"):
            read_info(tmp_path / name)
    for name in ("loop.h5", "text.h5/inside.h5", f"{'x' * 256}.h5"):
        with pytest.raises(BagError, match="cannot be reached"):
            read_info(tmp_path / name)
    with pytest.raises(MissingFileError, match=r"nothing\.h5"):
        read_info(tmp_path / "nothing.h5")


def test_bags_are_listed_by_slide_id(tmp_path, rows):
    for name in ("b", "a.2", "a", "A"):
        write_bag(tmp_path / f"{name}.h5", *rows)
    (tmp_path / ".hidden.h5").touch()
    (tmp_path / "slides.csv").touch()

    assert [bag.slide_id for bag in list_bags(tmp_path)] == ["A", "a", "a.2", "b"]


def test_a_bad_bag_stops_the_list_and_not_the_scan(tmp_path, rows):
    write_bag(tmp_path / "good.h5", *rows)
    (tmp_path / "bad.h5").write_text("hello")

    bags, errors = scan_bags(tmp_path)

    assert [bag.slide_id for bag in bags] == ["good"]
    assert list(errors) == ["bad"]
    with pytest.raises(BagError, match=r"bad\.h5"):
        list_bags(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="features"):
        list_bags(tmp_path / "features")


def test_a_bag_that_is_replaced_meanwhile_is_not_read(tmp_path, rows):
    features, coords = rows
    info = read_info(write_bag(tmp_path / "a.h5", features, coords))
    write_bag(tmp_path / "a.h5", features[:9], coords[:9])

    with pytest.raises(BagError, match="changed"):
        read_features(info)


def test_keys_are_those_of_the_files():
    assert (keys.FEATURES, keys.COORDS, keys.BAG_FORMAT) == ("features", "coords", "gimp.features")
