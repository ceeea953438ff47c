"""Readers of bags that plugins bring: tried like ours, and never in their way."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags import list_bags, read_coords, read_features, read_info, scan_bags
from tests.foreign_bags import clam_h5, draw, stamp_h5
from tests.plugin_factory import installing

PLUGIN = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_components():
        return [("feature-reader", "columns", "column_reader:READER", "columns of an .npz"),
                ("feature-reader", "lab-h5", "column_reader:LAB", "HDF5 of a laboratory")]
"""
BAD = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_components():
        return [("feature-reader", "bad", "TARGET", "broken")]
"""
READER = """
from contextlib import contextmanager
import h5py, numpy as np
from gimp_plugin.storage.bags.info import BagInfo
from gimp_plugin.storage.bags.layout import Layout
from gimp_plugin.storage.hdf5 import opened as opened_h5

@contextmanager
def opened(path):
    with path.open("rb") as raw, np.load(raw) as file:
        yield file

def look(path, file):
    dim, n_patches = file["columns"].shape
    return BagInfo(path=path, slide_id=path.stem, n_patches=n_patches, dim=dim, encoder="theirs")

READER = Layout(
    name="whatever", suffix=".npz", opened=opened,
    claims=lambda file: "columns" in file,
    look=look,
    rows=lambda info, file, start, stop: file["columns"].T[start:stop],
    corners=lambda info, file: file["xy"],
)
LAB = Layout(
    name="lab-h5", suffix=".h5", opened=opened_h5,
    claims=lambda file: "lab" in file.attrs,
    look=lambda path, file: BagInfo(path=path, slide_id=path.stem, n_patches=3, dim=2),
    rows=lambda info, file, start, stop: np.asarray(file["t"])[start:stop],
    corners=lambda info, file: np.zeros((3, 2)),
)
"""


@pytest.fixture
def plugin(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "column_reader.py").write_text(READER)
    with installing(site) as install:
        install("their-plugin", PLUGIN, entry="theirs")
        yield install
    sys.modules.pop("column_reader", None)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    return folder


def write(path, features, coords):
    np.savez(path, columns=features.T, xy=coords)
    return path


def test_a_folder_holds_bags_of_a_plugins_reader_beside_others(plugin, folder):
    features, coords = draw(29, 7)
    write(folder / "b.npz", features, coords)
    clam_h5(folder, "a", features, coords)

    ours, theirs = list_bags(folder)

    assert (ours.layout, theirs.layout) == ("clam-h5", "columns")
    assert (theirs.slide_id, theirs.n_patches, theirs.dim, theirs.encoder) == ("b", 29, 7, "theirs")
    np.testing.assert_array_equal(read_features(theirs), features)
    np.testing.assert_array_equal(read_features(theirs, 5, 20), features[5:20])
    np.testing.assert_array_equal(read_coords(theirs), coords)


def test_without_the_plugin_its_files_are_none_of_ours(folder):
    write(folder / "b.npz", *draw(29, 7))

    assert list_bags(folder) == []
    with pytest.raises(BagError):
        read_info(folder / "b.npz")


def test_a_reader_of_a_suffix_of_ours_is_asked_before_those_that_take_anything(plugin, folder):
    with h5py.File(folder / "lab.h5", "w") as file:
        file.attrs["lab"] = "x"
        file["t"] = np.arange(6, dtype="f4").reshape(3, 2)
    stamp = stamp_h5(folder, "stamp", *draw(13, 3))
    clam = clam_h5(folder, "clam", *draw(11, 5))

    lab = read_info(folder / "lab.h5")

    assert lab.layout == "lab-h5"
    np.testing.assert_array_equal(read_features(lab, 1), [[2, 3], [4, 5]])
    assert (read_info(stamp).layout, read_info(clam).layout) == ("stamp-h5", "clam-h5")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_what_a_reader_raises_is_told_with_file_and_plugin_and_other_bags_are_read(
    plugin, folder, content
):
    (folder / "bad.npz").write_bytes(content)
    write(folder / "good.npz", *draw(29, 7))

    bags, errors = scan_bags(folder)

    assert [bag.slide_id for bag in bags] == ["good"]
    message = str(errors["bad"])
    assert "bad.npz'" in message
    assert "feature-reader 'columns' of plugin 'theirs' of their-plugin 2.1 raised" in message


def test_values_of_a_plugins_reader_are_checked_like_ours(plugin, folder):
    features, coords = draw(29, 7)
    features[11, 3] = np.nan
    info = read_info(write(folder / "b.npz", features, coords))

    with pytest.raises(BagError, match="row 11 of 'features' is not finite"):
        read_features(info, 2)


def test_a_reader_that_gives_other_rows_than_asked_for_is_refused(plugin, folder):
    with h5py.File(folder / "lab.h5", "w") as file:
        file.attrs["lab"] = "x"
        file["t"] = np.zeros((5, 2), "f4")  # LAB says 3 patches whatever the file holds
    lab = read_info(folder / "lab.h5")

    with pytest.raises(BagError, match=r"gave rows 0 to None of shape \(5, 2\).*expected \(3, 2\)"):
        read_features(lab)
    with pytest.raises(BagError, match=r"gave corners of shape \(29, 3\)"):
        read_coords(read_info(write(folder / "b.npz", draw(29, 7)[0], np.zeros((29, 3)))))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_reader:READER", "cannot import feature-reader 'bad'"),
        ("statistics:mean", "feature-reader 'bad' of plugin 'other' of bad-plugin 2.1 lacks name"),
    ],
)
def test_a_reader_that_cannot_be_had_is_a_warning_and_ours_work(
    plugin, folder, caplog, target, message
):
    plugin("bad-plugin", BAD.replace("TARGET", target))
    clam_h5(folder, "a", *draw(29, 7))

    (bag,) = list_bags(folder)

    assert bag.layout == "clam-h5"
    assert message in caplog.text
