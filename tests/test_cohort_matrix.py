# a Cohort's values are an array
from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

from gimp_plugin.cohort.expression import read_cohort
from tests.cohort_factory import draw_values, make_cohort, refusal, rewrite_dense


def edit(path: Path) -> h5py.File:
    return h5py.File(path, "r+")


@pytest.mark.parametrize("sparse", [None, "csr", "csc"])
def test_values_are_those_of_anndata(tmp_path: Path, sparse: str | None) -> None:
    values = draw_values(["a", "b", "c"] * 5, 11, scale="counts") * (np.arange(11) % 3 > 0)
    path = make_cohort(tmp_path / "g.h5ad", n_cases=15, n_genes=11, values=values, sparse=sparse)

    cohort = read_cohort(path)

    adata = anndata.read_h5ad(path)
    assert np.array_equal(cohort.values, adata.to_df().to_numpy())
    assert cohort.values.dtype == np.float32
    assert cohort.case_ids == tuple(adata.obs_names)
    assert cohort.gene_ids == tuple(adata.var_names)
    assert cohort.obs["label"].tolist() == adata.obs["label"].tolist()
    assert cohort.obs.index.tolist() == list(cohort.case_ids)


@pytest.mark.parametrize("sparse", [None, "csr", "csc"])
@pytest.mark.parametrize("chunks", [None, (2, 3)])
def test_blocks_join_without_seams(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sparse: str | None,
    chunks: tuple[int, int] | None,
) -> None:
    path = make_cohort(tmp_path / "g.h5ad", n_cases=13, n_genes=7, sparse=sparse)
    if chunks and not sparse:
        rewrite_dense(path, chunks=chunks)
    whole = read_cohort(path).values

    monkeypatch.setattr("gimp_plugin.cohort.matrix._BLOCK_VALUES", 22)

    assert np.array_equal(read_cohort(path).values, whole)


def test_repeated_entries_of_a_sparse_matrix_are_added_up(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", n_cases=3, n_genes=2, values=np.eye(3, 2), sparse="csr")
    with edit(path) as file:
        for name, entries in {
            "data": np.array([1.5, 2.0, 4.0]),
            "indices": np.array([0, 0, 1], dtype=np.int32),
            "indptr": np.array([0, 2, 3, 3], dtype=np.int32),
        }.items():
            del file["X"][name]
            file["X"][name] = entries

    assert read_cohort(path).values.tolist() == [[3.5, 0.0], [0.0, 4.0], [0.0, 0.0]]


def spoil(path: Path, name: str, place: int, value: int) -> None:
    with edit(path) as file:
        file["X"][name][place] = value


@pytest.mark.parametrize("sparse", ["csr", "csc"])
@pytest.mark.parametrize("value", [99, 2**31 - 1, -1])
def test_an_index_out_of_range_is_refused(tmp_path: Path, sparse: str, value: int) -> None:
    path = make_cohort(tmp_path / "g.h5ad", sparse=sparse)
    spoil(path, "indices", 5, value)

    message = refusal(path)

    assert "wrong sparse index" in message
    assert f"{value} in 'indices'" in message


@pytest.mark.parametrize(("place", "value"), [(0, 1), (4, 2), (-1, 10**6), (3, -5)])
def test_a_wrong_indptr_is_refused(tmp_path: Path, place: int, value: int) -> None:
    path = make_cohort(tmp_path / "g.h5ad", sparse="csr")
    spoil(path, "indptr", place, value)

    assert "'indptr' does not rise" in refusal(path)


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("indptr", np.arange(5)),
        ("indices", np.zeros(3, np.int32)),
        ("indices", np.zeros((91, 1), np.int32)),
        ("indices", np.zeros(91, np.float32)),
        ("data", None),
    ],
)
def test_vectors_that_do_not_belong_together_are_refused(
    tmp_path: Path, name: str, entries: np.ndarray | None
) -> None:
    path = make_cohort(tmp_path / "g.h5ad", sparse="csr")
    with edit(path) as file:
        del file["X"][name]
        if entries is not None:
            file["X"][name] = entries

    assert "wrong sparse index" in refusal(path)


def test_a_sparse_matrix_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", sparse="csr")
    with edit(path) as file:
        file["X"].attrs["shape"] = [13, 8]

    assert "(13, 8)" in refusal(path)


def test_a_dense_layout_of_the_future_is_refused(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad")
    with edit(path) as file:
        file["X"].attrs["encoding-type"] = "tiled"

    assert "encoded as 'tiled 0.2.0', expected a dense, CSR or CSC matrix" in refusal(path)


def test_a_sparse_layout_of_the_future_is_refused(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", sparse="csr")
    with edit(path) as file:
        file["X"].attrs["encoding-type"] = "bsr_matrix"

    assert "encoded as 'bsr_matrix 0.1.0'" in refusal(path)
