# a Cohort's values are an array
from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from gimp_plugin.cohort.expression import read_cohort
from gimp_plugin.errors import CohortError, MissingFileError, SafetyError
from tests.cohort_factory import make_cohort, refusal, rewrite_dense


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_cohort(tmp_path / "genes.h5ad")


def edit(path: Path) -> h5py.File:
    return h5py.File(path, "r+")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_with_its_size(path: Path, share: float) -> None:
    size = int(path.stat().st_size * share)
    os.truncate(path, size)

    message = refusal(path)

    assert "truncated" in message or size == 0
    assert str(size) in message or "empty" in message


def test_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "genes.h5ad"
    path.write_text("gene,P1,P2\nTP53,1,2\n")

    assert "not an HDF5 file" in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.h5ad") as caught:
        read_cohort(tmp_path / "nowhere.h5ad")

    assert caught.value.exit_code == 3


def test_a_folder_and_a_pipe_are_refused_without_opening(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5ad")

    for path in (tmp_path, tmp_path / "pipe.h5ad"):
        with pytest.raises(CohortError, match="not a regular file"):
            read_cohort(path)


def test_a_bag_is_called_a_feature_file(tmp_path: Path) -> None:
    path = tmp_path / "slide.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((5, 3), np.float16)
        file["coords"] = np.zeros((5, 2), np.int32)

    assert "is a feature file" in refusal(path)


def test_a_loom_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cells.loom"
    with h5py.File(path, "w") as file:
        file["matrix"] = np.zeros((3, 2))
        file.create_group("row_attrs")
        file.create_group("col_attrs")

    assert "loom" in refusal(path)


def test_a_file_with_x_only_lacks_both_tables(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["X"] = np.zeros((3, 2))

    assert "no 'obs' and no 'var'" in refusal(path)


def test_tables_of_the_oldest_anndata_are_named(tmp_path: Path) -> None:
    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        file["obs"] = np.zeros(3, dtype=[("index", "S3")])
        file["var"] = np.zeros(2, dtype=[("index", "S3")])

    assert "before 0.7" in refusal(path)


@pytest.mark.parametrize("name", [None, "X", "obs", "obs/label", "var", "var/_index"])
def test_an_encoding_of_the_future_is_refused(path: Path, name: str | None) -> None:
    with edit(path) as file:
        (file if name is None else file[name]).attrs["encoding-version"] = "9.9.9"

    message = refusal(path)

    assert "newer anndata" in message
    assert "9.9.9" in message or name == "obs/label"
    assert name is None or name.split("/")[0] in message


def test_x_of_another_shape_is_refused(path: Path) -> None:
    with edit(path) as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file["X"] = np.zeros((12, 7), np.float32)
        file["X"].attrs.update(attributes)

    message = refusal(path)

    assert "(12, 7)" in message
    assert "13 cases" in message
    assert "7 genes" in message


def test_a_matrix_without_values_on_disk_is_refused(path: Path) -> None:
    with edit(path) as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", (13, 7), "f4", chunks=(3, 7)).attrs.update(attributes)

    assert "'X'" in refusal(path)


@pytest.mark.parametrize("structure", [b"TREE", b"HEAP", b"SNOD", b"GCOL"])
def test_a_damaged_structure_is_refused(path: Path, structure: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(structure, b"XXXX", 1))

    message = refusal(path)

    assert "damaged" in message or "cannot be read" in message


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad")
    rewrite_dense(path, chunks=(13, 7), fletcher32=True)
    with edit(path) as file:
        offset = file["X"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(offset + 4)
        byte = file.read(1)
        file.seek(offset + 4)
        file.write(bytes([byte[0] ^ 255]))

    assert "'X'" in refusal(path)


@pytest.mark.parametrize("link", ["external", "soft"])
@pytest.mark.parametrize("place", ["X", "obs/stage", "uns/notes"])
def test_links_are_refused(path: Path, link: str, place: str) -> None:
    with edit(path) as file:
        if place in file:
            del file[place]
        target = (
            h5py.ExternalLink("/etc/hostname", "/x")
            if link == "external"
            else h5py.SoftLink("/var")
        )
        file[place] = target

    message = refusal(path, SafetyError)

    assert f"{place!r} is a {type(target).__name__}" in message


def test_external_storage_is_refused(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "in" / "g.h5ad")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(13 * 7 * 4))
    with edit(path) as file:
        del file["X"]
        file.create_dataset("X", (13, 7), "f4", external=[(str(secret), 0, 364)])

    assert "'X' is stored in other files" in refusal(path, SafetyError)


def test_a_virtual_dataset_is_refused(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "in" / "g.h5ad")
    shutil.copy(path, tmp_path / "other.h5ad")
    with edit(path) as file:
        del file["X"]
        layout = h5py.VirtualLayout((13, 7), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5ad"), "X", (13, 7))
        file.create_virtual_dataset("X", layout)

    assert "'X' is stored in other files" in refusal(path, SafetyError)


def test_references_are_refused(path: Path) -> None:
    with edit(path) as file:
        file.create_dataset("uns/r", (1,), dtype=h5py.ref_dtype)[0] = file["X"].ref

    assert "'uns/r' holds references" in refusal(path, SafetyError)


def test_a_small_file_that_claims_terabytes_is_refused(path: Path) -> None:
    with edit(path) as file:
        del file["X"]
        file.create_dataset("X", (10**6, 10**6), "f4", chunks=(100, 100), compression="gzip")

    assert "'X' claims 1000000000000 values" in refusal(path, SafetyError)


def test_a_cycle_of_hard_links_ends(path: Path) -> None:
    with edit(path) as file:
        file["uns/again"] = file["uns"]

    assert len(read_cohort(path).gene_ids) == 7
