# a Cohort's values are an array
from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from gimp_plugin.cohort.expression import read_cohort
from gimp_plugin.errors import ResourceError
from tests.cohort_factory import draw_values, make_cohort, refusal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_cohort(tmp_path / "genes.h5ad")


def edit(path: Path) -> h5py.File:
    return h5py.File(path, "r+")


def test_no_x_names_the_layers(tmp_path: Path) -> None:
    message = refusal(make_cohort(tmp_path / "g.h5ad", layer="tpm"))

    assert "has no X" in message
    assert "'tpm'" in message


def test_an_unknown_layer_offers_the_nearest(tmp_path: Path) -> None:
    message = refusal(make_cohort(tmp_path / "g.h5ad", layer="counts"), layer="count")

    assert "did you mean 'counts'?" in message


def test_a_layer_without_values_is_named(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", layer="counts")
    with edit(path) as file:
        attributes = dict(file["layers/counts"].attrs)
        del file["layers/counts"]
        file["layers"].create_dataset("counts", data=h5py.Empty("f4")).attrs.update(attributes)

    message = refusal(path, layer="counts")

    assert "holds nothing in layer 'counts'" in message
    assert "--layer" not in message


def test_text_in_x_is_refused(path: Path) -> None:
    with edit(path) as file:
        del file["X"]
        file["X"] = np.full((13, 7), "high", dtype=object)

    assert "'X'" in (message := refusal(path))
    assert "holds text, expected numbers" in message


@pytest.mark.parametrize(("n_cases", "n_genes", "lacking"), [(0, 3, "0 cases"), (3, 0, "0 genes")])
def test_nothing_in_a_table_is_refused(
    tmp_path: Path, n_cases: int, n_genes: int, lacking: str
) -> None:
    path = tmp_path / "g.h5ad"
    anndata.AnnData(
        np.zeros((n_cases, n_genes), np.float32),
        obs=pd.DataFrame(index=[f"P{case}" for case in range(n_cases)]),
        var=pd.DataFrame(index=[f"G{gene}" for gene in range(n_genes)]),
    ).write_h5ad(path)

    assert lacking in refusal(path)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_cases_are_listed(tmp_path: Path) -> None:
    names = [f"P{case // 2}" for case in range(14)]

    message = refusal(make_cohort(tmp_path / "g.h5ad", n_cases=14, case_ids=names))

    assert "obs_names" in message
    assert "'P0', 'P1', 'P2', 'P3', 'P4' and 2 more" in message


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes_are_listed(tmp_path: Path) -> None:
    message = refusal(make_cohort(tmp_path / "g.h5ad", gene_ids=["A", "B", "C", "B"]))

    assert "var_names" in message
    assert "1 appear more than once: 'B'" in message


def test_a_case_without_a_name_is_refused(tmp_path: Path) -> None:
    message = refusal(make_cohort(tmp_path / "g.h5ad", n_cases=3, case_ids=["P0", "", "P2"]))

    assert "obs_names" in message
    assert "entry 1 is empty" in message


def test_genes_that_are_only_numbered_are_refused_and_numbers_that_are_names_are_not(
    tmp_path: Path,
) -> None:
    message = refusal(make_cohort(tmp_path / "g.h5ad", gene_ids=["0", "1", "2", "3"]))
    entrez = read_cohort(make_cohort(tmp_path / "e.h5ad", gene_ids=["7157", "1956", "3845"]))

    assert "only number the genes, '0', '1', '2' and 1 more: expected their names" in message
    assert entrez.gene_ids == ("7157", "1956", "3845")


@pytest.mark.parametrize(("bad", "name"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("sparse", [None, "csr"])
def test_missing_values_are_counted_and_the_first_is_named(
    tmp_path: Path, bad: float, name: str, sparse: str | None
) -> None:
    values = draw_values(["a", "b"] * 3, 5)
    values[[2, 4], [3, 1]] = bad

    message = refusal(
        make_cohort(tmp_path / "g.h5ad", n_cases=6, n_genes=5, values=values, sparse=sparse)
    )

    assert "2 of 30 values" in message
    assert f"the first is {name} of case 'P02', gene 'G003'" in message


def test_a_value_beyond_single_precision_counts_as_infinite(tmp_path: Path) -> None:
    values = draw_values(["a", "b"], 3).astype(np.float64)
    values[1, 2] = 1e39

    message = refusal(make_cohort(tmp_path / "g.h5ad", n_cases=2, n_genes=3, values=values))

    assert "inf of case 'P01', gene 'G002'" in message


@pytest.mark.parametrize("table", ["obs", "var"])
def test_a_table_without_names_is_refused(path: Path, table: str) -> None:
    with edit(path) as file:
        del file[table].attrs["_index"]

    assert f"{table!r} has no index" in refusal(path)


def test_too_little_memory_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("gimp_plugin.cohort.matrix._read_dense", too_much)

    message = refusal(path, ResourceError)

    assert "'X'" in message
    assert "13 cases and 7 genes does not fit into the memory" in message
