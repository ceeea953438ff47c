"""Rows read past HDF5's filters are those that HDF5 reads, and damage is found as it finds it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from gimp_plugin.errors import BagError
from gimp_plugin.storage.bag_writer import CHUNK, BagWriter
from gimp_plugin.storage.bags import read_features, read_info
from gimp_plugin.storage.chunk_reads import MODULUS, fletcher32, read_finite_rows
from gimp_plugin.storage.hdf5 import DamagedBagError

N = 3 * CHUNK + 131


def anything(dtype, n_rows, dim, seed=5):
    """Rows of random bytes, NaN and infinities among them."""
    n_bytes = n_rows * dim * np.dtype(dtype).itemsize
    content = np.random.default_rng(seed).integers(0, 256, n_bytes, np.uint8)
    return content.view(dtype).reshape(n_rows, dim)


def finite(dtype, n_rows, dim):
    """Rows of any finite bits, both zeros and the largest values among them."""
    rows = anything(dtype, n_rows, dim)
    rows[~np.isfinite(rows)] = -0.0
    rows[::7, 0] = np.finfo(dtype).max
    rows[3::7, 0] = np.finfo(dtype).min
    return rows


def dataset(folder, rows, **layout):
    """A dataset laid out as in a bag, but for what `layout` changes."""
    layout = {"chunks": (CHUNK, rows.shape[1]), "fletcher32": True} | layout
    file = h5py.File(folder / "a.h5", "w")
    return file.create_dataset("features", data=rows, maxshape=(None, rows.shape[1]), **layout)


def write_bag(path, dim=5):
    features = np.random.default_rng(dim).normal(size=(N, dim)).astype(np.float16)
    with BagWriter(path, dim=dim, attributes={}) as bag:
        bag.append(features, np.zeros((N, 2), np.int32))
    return path, features


def chunk_of(path, number):
    with h5py.File(path) as file:
        return file["features"].id.get_chunk_info(number)


@pytest.mark.parametrize(("dtype", "dim"), [("<f2", 7), ("<f2", 1), ("<i4", 2), ("<f8", 3)])
@pytest.mark.parametrize("fill", [None, 0x00, 0xFF])
def test_the_checksum_is_the_one_that_hdf5_stored(tmp_path, dtype, dim, fill):
    rows = anything(dtype, CHUNK, dim)
    if fill is not None:
        rows.view(np.uint8)[:] = fill

    _, content = dataset(tmp_path, rows).id.read_direct_chunk((0, 0))

    stored = int.from_bytes(content[-4:], "little")
    sums = fletcher32(np.frombuffer(content[:-4], np.uint8))
    assert sums == (stored % 65536 % MODULUS, stored // 65536 % MODULUS)


def test_sums_that_wrap_around_are_right_up_to_64_mib():
    rng = np.random.default_rng(2)
    words = rng.integers(2**16 - 9, 2**16, (CHUNK // 2, 2 * 65_536), np.uint16)  # large ones

    sums = fletcher32(words.reshape(-1).view(np.uint8))

    first = 0
    second = 0
    for line in words.astype(np.uint64):  # prefix sums, as HDF5 defines them
        prefix = np.cumsum(line)
        second += len(line) * first + int(prefix.sum())
        first += int(prefix[-1])
    assert sums == (256 * first % MODULUS, 256 * second % MODULUS)


@pytest.mark.parametrize(("dtype", "dim"), [("<f2", 7), ("<f2", 64), ("<f4", 3)])
@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, None), (0, 1), (0, CHUNK), (CHUNK, 2 * CHUNK), (511, 513), (3, 1200), (700, 701),
     (3 * CHUNK, N), (1535, N + 9), (N - 1, N), (-200, -3)],
)  # fmt: skip
def test_rows_are_those_of_hdf5(tmp_path, dtype, dim, start, stop):
    there = dataset(tmp_path, finite(dtype, N, dim))

    rows = read_finite_rows(there, start, stop)

    assert rows is not None
    expected = there[np.arange(N)[start:stop]]
    assert (rows.dtype, rows.shape) == (expected.dtype, expected.shape)
    assert rows.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "layout",
    [
        {"chunks": (CHUNK // 2, 7)},
        {"chunks": (2 * CHUNK, 7)},
        {"chunks": (CHUNK, 6)},
        {"chunks": (1, 7)},
        {"fletcher32": False},
        {"shuffle": True},
        {"compression": "gzip"},
    ],
)
def test_other_layouts_are_left_to_hdf5(tmp_path, layout):
    assert read_finite_rows(dataset(tmp_path, finite("<f2", N, 7), **layout), 3, 900) is None


@pytest.mark.parametrize("dtype", ["<i4", "<f8", ">f2", ">f4"])
def test_other_types_are_left_to_hdf5(tmp_path, dtype):
    rows = np.random.default_rng(3).normal(size=(N, 6)).astype(dtype)

    assert read_finite_rows(dataset(tmp_path, rows), 3, 900) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_a_chunk_with_a_value_that_is_not_finite_is_left_to_hdf5(tmp_path, dtype, value):
    rows = finite(dtype, N, 6)
    rows[CHUNK + 7, 5] = value
    there = dataset(tmp_path, rows)

    assert read_finite_rows(there, 0, CHUNK) is not None
    assert read_finite_rows(there, 0, CHUNK + 1) is None  # another row of the same chunk
    assert read_finite_rows(there, 2 * CHUNK, N) is not None


def test_rows_beside_one_that_is_not_finite_are_read_all_the_same(tmp_path):
    path, features = write_bag(tmp_path / "a.h5")
    features[CHUNK + 7, 2] = np.nan
    with h5py.File(path, "r+") as file:
        file["features"][CHUNK + 7] = features[CHUNK + 7]
    info = read_info(path)

    beside = read_features(info, CHUNK + 8, N)
    np.testing.assert_array_equal(beside, features[CHUNK + 8 :])
    with pytest.raises(BagError, match=rf"a\.h5.*row {CHUNK + 7} of 'features' is not finite"):
        read_features(info, CHUNK + 5, CHUNK + 9)


def test_a_chunk_that_skipped_the_checksum_is_left_to_hdf5(tmp_path):
    rows = finite("<f2", N, 7)
    there = dataset(tmp_path, rows)
    there.id.write_direct_chunk((CHUNK, 0), rows[:CHUNK].tobytes() + b"none", filter_mask=1)

    assert read_finite_rows(there, 0, CHUNK) is not None
    assert read_finite_rows(there, 0, CHUNK + 1) is None


def test_no_rows_are_left_to_hdf5(tmp_path):
    there = dataset(tmp_path, finite("<f2", N, 7))

    assert read_finite_rows(there, 9, 9) is None
    assert read_finite_rows(there, N, None) is None


def test_a_bag_in_other_chunks_is_read_all_the_same(tmp_path):
    path, features = write_bag(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["features"]
        file.create_dataset("features", data=features, chunks=(100, 5), compression="gzip")

    np.testing.assert_array_equal(read_features(read_info(path), 90, 777), features[90:777])


@pytest.mark.parametrize("place", [0, 1, 77, 5 * 2 * 511, 5 * 2 * CHUNK - 1, 5 * 2 * CHUNK + 2])
@pytest.mark.parametrize("bit", [0, 7])
def test_each_flipped_bit_of_a_chunk_is_found_when_its_rows_are_read(tmp_path, place, bit):
    path, features = write_bag(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    content[chunk_of(path, 1).byte_offset + place] ^= 1 << bit
    path.write_bytes(content)
    info = read_info(path)

    np.testing.assert_array_equal(read_features(info, 0, CHUNK), features[:CHUNK])
    for start, stop in ((0, None), (CHUNK, CHUNK + 1), (2 * CHUNK - 1, 2 * CHUNK + 3)):
        with pytest.raises(DamagedBagError, match=r"a\.h5.*damaged"):
            read_features(info, start, stop)


def test_values_that_changed_places_are_found(tmp_path):
    path, _ = write_bag(tmp_path / "a.h5")
    content, first = bytearray(path.read_bytes()), chunk_of(path, 2).byte_offset
    a, b = slice(first + 40, first + 42), slice(first + 2000, first + 2002)
    content[a], content[b] = content[b], content[a]
    path.write_bytes(content)

    with pytest.raises(DamagedBagError, match=r"a\.h5.*damaged"):
        read_features(read_info(path), 2 * CHUNK, 3 * CHUNK)
