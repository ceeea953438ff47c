"""A cohort from an AnnData in memory: the same rules as for a file."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from gimp_plugin.cohort.expression import Cohort, read_cohort
from gimp_plugin.errors import CohortError, ConfigError
from tests.cohort_factory import make_cohort


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_cohort(
        tmp_path / "genes.h5ad",
        n_cases=5,
        n_genes=3,
        declared="log2",
        genes={"gene_name": ["TP53", "EGFR", ""], "note": ["a", "b", "c"]},
    )


def test_memory_and_file_give_the_same_cohort(path: Path) -> None:
    adata = anndata.read_h5ad(path)

    from_memory, from_file = Cohort.from_anndata(adata), read_cohort(path)

    assert from_memory.case_ids == from_file.case_ids
    assert from_memory.gene_ids == from_file.gene_ids
    assert np.array_equal(from_memory.values, from_file.values)
    assert (from_memory.scale, from_memory.scale_guessed) == ("log2", False)
    assert from_memory.obs.equals(from_file.obs)
    assert from_memory.genes.astype(str).equals(from_file.genes.astype(str))
    assert list(from_file.genes) == ["gene_name"]


def test_the_annotated_data_stay_as_they_were(path: Path) -> None:
    adata = anndata.read_h5ad(path)
    adata.X = csr_matrix(adata.X)
    before = adata.copy()

    Cohort.from_anndata(adata).values[:] = 0

    assert np.array_equal(adata.X.toarray(), before.X.toarray())
    assert adata.obs.equals(before.obs)


def test_a_layer_of_memory_has_its_own_scale(path: Path) -> None:
    adata = anndata.read_h5ad(path)
    adata.layers["raw"] = np.array([[100.5, 0, 3]] * 5)

    cohort = Cohort.from_anndata(adata, layer="raw")

    assert cohort.values[0].tolist() == [100.5, 0, 3]
    assert (cohort.scale, cohort.scale_guessed) == ("linear", True)


def test_what_a_file_may_not_have_memory_may_not_have(path: Path) -> None:
    adata = anndata.read_h5ad(path)
    adata.X[2, 1] = np.nan
    with pytest.raises(CohortError, match=r"1 of 15 values in the AnnData are NaN.*'P02'.*'G001'"):
        Cohort.from_anndata(adata)
    with pytest.raises(CohortError, match="no layer 'rwa'"):
        Cohort.from_anndata(adata, layer="rwa")
    with pytest.raises(ConfigError, match="--scale 'lgo'"):
        Cohort.from_anndata(adata, scale="lgo")
    adata.X = None
    with pytest.raises(CohortError, match="has no X"):
        Cohort.from_anndata(adata)


def test_ensembl_ids_mixed_with_symbols_are_refused_and_both_are_named(tmp_path: Path) -> None:
    names = ["ENSG00000141510.18", "EGFR", "ENSG00000146648"]
    path = make_cohort(tmp_path / "genes.h5ad", n_cases=5, n_genes=3, gene_ids=names)

    with pytest.raises(CohortError) as caught:
        read_cohort(path)

    assert "2 Ensembl ids ('ENSG00000141510.18', 'ENSG00000146648')" in caught.value.problem
    assert "1 other names ('EGFR')" in caught.value.problem
    assert "--gene-ids" in (caught.value.hint or "")
