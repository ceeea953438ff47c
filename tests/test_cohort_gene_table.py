from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.cohort.gene_table import (
    COLUMNS,
    class_means_of_rows,
    gene_rows,
    transform_of_rows,
    with_class_means,
)
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.errors import CheckpointError
from gimp_plugin.storage.tables import read_csv, write_csv
from tests.cohort_factory import cohort_in_memory, draw_values

TRAIN = ["P00", "P03", "P04"]


def fitted(n_genes: int, *, seed: int = 0, clip: float = 10.0) -> GeneTransform:
    values = draw_values(["a", "b", "a"] * 2, n_genes, scale="fpkm", seed=seed)
    return GeneTransform.fit(cohort_in_memory(values, scale="fpkm"), TRAIN, clip=clip)


@given(seed=st.integers(0, 50), clip=st.sampled_from([5.0, 10.0]))
def test_the_gene_table_brings_back_every_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, clip: float
) -> None:
    path: Path = tmp_path_factory.mktemp("run") / "genes.csv"
    transform = fitted(9, seed=seed, clip=clip)

    write_csv(path, gene_rows(transform, groups=[0, 0, 0, 0, 1, 1, 1, 2, 2]), columns=COLUMNS)
    again = transform_of_rows(read_csv(path)[::-1], scale="fpkm", clip=clip)

    assert again.gene_ids == transform.gene_ids
    assert np.array_equal(again.mean, transform.mean)
    assert np.array_equal(again.std, transform.std)
    assert (again.scale, again.clip) == ("fpkm", clip)
    assert [row["group"] for row in read_csv(path)] == list("000011122")


@pytest.mark.parametrize(
    ("place", "column", "value"),
    [(1, "order", "0"), (2, "mean", "nan"), (0, "std", "0"), (1, "std", "x"), (1, "id", "G000")],
)
def test_a_damaged_gene_table_is_refused(place: int, column: str, value: str) -> None:
    rows = gene_rows(fitted(3), groups=[0, 0, 0])
    rows[place][column] = value

    with pytest.raises(CheckpointError, match="gene table of the run is damaged"):
        transform_of_rows(rows, scale="log")


def test_a_gene_table_without_a_column_or_a_row_is_refused() -> None:
    for rows in ([], [{"id": "G0", "order": "0", "mean": "1"}]):
        with pytest.raises(CheckpointError, match="damaged"):
            transform_of_rows(rows, scale="log")


def test_class_means_come_back_bit_for_bit_and_genes_that_are_not_read_have_none(
    tmp_path: Path,
) -> None:
    means = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    rows = gene_rows(fitted(4), groups=[0] * 4)
    rows.append(dict.fromkeys(COLUMNS, "") | {"id": "left", "name": ""})

    written = with_class_means(rows, means)
    write_csv(tmp_path / "genes.csv", written, columns=list(written[0]))
    again = read_csv(tmp_path / "genes.csv")[::-1]

    found = class_means_of_rows(again, n_classes=3)
    assert found is not None
    assert np.array_equal(found, means)
    assert again[0]["class_mean_2"] == ""
    assert transform_of_rows(again, scale="fpkm").gene_ids == fitted(4).gene_ids
    assert class_means_of_rows(gene_rows(fitted(4), groups=[0] * 4), n_classes=3) is None


@pytest.mark.parametrize("value", ["", "x", "inf"])
def test_class_means_that_are_no_numbers_or_of_other_classes_are_refused(value: str) -> None:
    rows = with_class_means(gene_rows(fitted(2), groups=[0, 0]), np.zeros((2, 2), np.float32))

    with pytest.raises(CheckpointError, match="gene table of the run is damaged"):
        class_means_of_rows(rows, n_classes=3)
    rows[1]["class_mean_0"] = value
    with pytest.raises(CheckpointError, match="gene table of the run is damaged"):
        class_means_of_rows(rows, n_classes=2)
