"""Rules apart from any source: which aliquot, blocks of rows, scales, and what is written."""

from __future__ import annotations

import itertools

import h5py
import numpy as np
import pandas as pd
import pytest

from gimp_plugin.cohort import scales
from gimp_plugin.cohort.importing import cleaning
from gimp_plugin.cohort.importing.aliquots import Sample, choose_samples
from gimp_plugin.cohort.importing.rules import FORMATS, ImportRules
from gimp_plugin.cohort.values import Table
from gimp_plugin.cohort.writing import read_record, write_cohort
from gimp_plugin.errors import CohortError, ConfigError
from tests.expression_factory import read_back

START = "TCGA-05-4244-"


def chosen(barcodes, **rules):
    samples = [
        Sample(row=row, sample_id=name, case_id="TCGA-05-4244") for row, name in enumerate(barcodes)
    ]
    choice = choose_samples(samples, ImportRules(**rules))
    return [one.sample_id for one in choice.by_case["TCGA-05-4244"]]


@pytest.mark.parametrize(
    ("rest", "best"),
    [
        (("01B-01R-9999-07", "01A-01R-0001-07"), "01A-01R-0001-07"),
        (("01A-01R-0946-07", "01A-01R-A278-07"), "01A-01R-A278-07"),
        (("11A-01R-A278-07", "01A-01R-0946-07"), "01A-01R-0946-07"),
        (("20A-01R-A278-07", "01B"), "01B"),
        (("06A-01R-A278-07", "01C-01R-0001-07"), "01C-01R-0001-07"),
    ],
)
def test_the_best_aliquot_is_taken_in_any_order(rest, best):
    for names in itertools.permutations(rest):
        assert chosen([START + name for name in names]) == [START + best]


def test_two_equal_aliquots_need_a_word():
    twins = [f"{START}01A-01R-A278-07", f"{START}01A-02R-A278-07"]

    with pytest.raises(CohortError, match="1 case has several samples"):
        chosen(twins)

    assert chosen(twins, duplicate_cases="first") == twins[:1]
    assert chosen(twins, duplicate_cases="mean") == twins


def test_a_case_of_normal_tissue_only_says_what_to_do():
    with pytest.raises(CohortError, match="no sample is left after the rule 'no normal tissue'"):
        chosen([f"{START}11A"])

    assert chosen([f"{START}11A"], samples="all") == [f"{START}11A"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Two rows a block, so that a block overwrites the room of others."""
    monkeypatch.setattr(scales, "_BLOCK_VALUES", 14)


@pytest.mark.usefixtures("small_blocks")
def test_columns_are_dropped_in_place_over_many_blocks():
    values = np.arange(77, dtype=np.float32).reshape(11, 7)
    kept = np.array([True, False, True, True, False, False, True])

    found = cleaning.without_columns(values.copy(), kept)

    np.testing.assert_array_equal(found, values[:, kept])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("how", ["sum", "mean"])
def test_columns_are_combined_in_place_over_many_blocks(how):
    values = np.random.default_rng(0).gamma(1, 50, (11, 7)).astype(np.float32)
    starts = np.array([0, 2, 3, 6])
    naive = [getattr(np, how)(values[:, a:b], axis=1) for a, b in itertools.pairwise([*starts, 7])]

    found = cleaning.one_column_a_gene(values.copy(), starts, how=how, scale="tpm")

    np.testing.assert_allclose(found, np.stack(naive, axis=1), rtol=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_missing_values_are_found_in_every_block():
    values = np.ones((11, 7), dtype=np.float32)
    values[4, 3] = values[9, 3] = np.nan
    values[9, 5] = -np.inf
    names = [f"P{n}" for n in range(11)], [f"G{n}" for n in range(7)]
    table = Table(values=values, case_ids=names[0], gene_ids=names[1], where="'x'")

    with pytest.raises(
        CohortError, match=r"3 of 77 values .* first is nan of case 'P4', gene 'G3'"
    ):
        cleaning.missing_values(table, "error")
    cases, _, _ = cleaning.missing_values(table, "drop-cases")
    _, genes, count = cleaning.missing_values(table, "drop-genes")

    assert np.flatnonzero(~cases).tolist() == [4, 9]
    assert np.flatnonzero(~genes).tolist() == [3, 5]
    assert count == 3
    cleaning.missing_values(table, "zero")
    assert values.sum() == 74


@pytest.mark.parametrize(
    ("scale", "there", "back"),
    [("tpm", np.array, np.array), ("log2", np.exp2, np.log2), ("log1p", np.exp, np.log)],
)
def test_the_mean_of_a_case_is_that_of_linear_values(scale, there, back):
    values = np.random.default_rng(0).uniform(0, 9, (3, 5)).astype(np.float32)
    offset = 0 if scale == "tpm" else 1
    linear = there(values.astype(float)) - offset

    found = cleaning.one_row_a_case(values.copy(), np.array([0, 2]), scale=scale)

    np.testing.assert_allclose(found[0], back(linear[:2].mean(axis=0) + offset), rtol=1e-5)
    np.testing.assert_array_equal(found[1], values[2])


def test_an_unknown_word_offers_the_nearest():
    with pytest.raises(ConfigError, match="--format 'strar' is unknown, did you mean 'star'"):
        ImportRules(format="strar")

    assert "star" in FORMATS


def test_a_cohort_is_written_with_plain_text_whatever_pandas_made_of_it(tmp_path):
    obs = pd.DataFrame(
        {"label": pd.Categorical(["A", "B"]), "age": [61.5, 7.0]}, index=["P1", "P2"]
    )
    obs["note"] = pd.array(["x", None], dtype="string")
    var = pd.DataFrame({"start": [5, 9, 11]}, index=["G1", "G2", "G3"])
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "c.h5ad"

    write_cohort(path, values, obs=obs, var=var, scale="tpm", record={"a": [1]})

    found = read_back(path)
    assert found.obs["label"].tolist() == ["A", "B"]
    assert found.obs["note"].tolist() == ["x", ""]
    with h5py.File(path) as file:  # what pandas makes of it is pandas' affair
        kinds = {file[f"obs/{name}"].attrs["encoding-type"] for name in ("label", "note")}
    assert kinds == {"string-array"}
    assert found.var["start"].tolist() == [5, 9, 11]
    np.testing.assert_array_equal(found.X, values)
    assert read_record(path) == {"a": [1]}
    again = tmp_path / "again.h5ad"
    found.write_h5ad(again)
    assert read_back(again).shape == (2, 3)
