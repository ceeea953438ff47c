"""Cohorts that either series of anndata wrote are read, and what we write is the same by both."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

from gimp_plugin.cohort.expression import read_cohort
from gimp_plugin.cohort.labels import labels_of
from gimp_plugin.cohort.writing import write_cohort

DATA = Path(__file__).parent / "data"
WRITERS = ["0.12", "0.13"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_cohort_of_another_anndata_is_read(writer: str) -> None:
    cohort = read_cohort(DATA / f"genes-by-anndata-{writer}.h5ad")

    assert cohort.case_ids == ("P1", "P2", "P3", "P4")
    assert np.array_equal(cohort.values, np.arange(12, dtype=np.float32).reshape(4, 3) / 7)
    assert (cohort.scale, cohort.scale_guessed) == ("log2", False)
    assert list(labels_of(cohort, "label").values()) == ["LUAD", "LUSC", "LUAD", "LUSC"]
    assert cohort.obs["site"].tolist() == ["Köln", "B", "C", "D"]
    assert cohort.obs["fold"].tolist() == [0, 1, 2, 0]
    assert cohort.genes["gene_name"].tolist() == ["TP53", "EGFR", "KRAS"]
    assert cohort.genes["start"].tolist() == [7661779, 55019017, 25205246]


def test_what_we_write_of_them_is_the_same_and_can_be_written_again(tmp_path: Path) -> None:
    """Only text as objects gets there: anndata 0.12 cannot write the text that 0.13 reads."""
    paths = {writer: tmp_path / f"{writer}.h5ad" for writer in WRITERS}

    for writer, path in paths.items():
        cohort = read_cohort(DATA / f"genes-by-anndata-{writer}.h5ad")
        write_cohort(path, cohort.values, obs=cohort.obs, var=cohort.genes, scale=cohort.scale)

    one, other = (path.read_bytes() for path in paths.values())
    assert one == other
    adata = anndata.read_h5ad(paths["0.13"])
    adata.write_h5ad(tmp_path / "again.h5ad")
    assert anndata.read_h5ad(tmp_path / "again.h5ad").obs["site"].tolist()[0] == "Köln"
