# a Cohort's values are an array
from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

from gimp_plugin.cohort.expression import Cohort, read_cohort
from gimp_plugin.errors import ConfigError
from tests.cohort_factory import draw_values, make_cohort, refusal

REAL = Path(__file__).parents[2] / "shared" / "data" / "cohort" / "genes.h5ad"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_cohort(tmp_path / "genes.h5ad")


def edit(path: Path) -> h5py.File:
    return h5py.File(path, "r+")


def test_a_layer_is_read_instead_of_x_and_has_its_own_scale(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", scale="counts", declared="log", layer="raw")

    cohort = read_cohort(path, layer="raw")

    assert (cohort.scale, cohort.scale_guessed) == ("counts", True)


def test_names_stored_as_nullable_strings_are_read(path: Path) -> None:
    with edit(path) as file:
        for table in (file["obs"], file["var"]):
            names = table["_index"]  # anndata 0.13 writes such names by itself
            names = (names["values"] if isinstance(names, h5py.Group) else names)[:]
            del table["_index"]
            group = table.create_group("_index")
            group.attrs.update({"encoding-type": "nullable-string-array", "na-value": "NaN"})
            group.attrs["encoding-version"] = "0.1.0"
            group.create_dataset("values", data=names).attrs.update(
                {"encoding-type": "string-array", "encoding-version": "0.2.0"}
            )
            group.create_dataset("mask", data=np.zeros(len(names), bool)).attrs.update(
                {"encoding-type": "array", "encoding-version": "0.2.0"}
            )

    cohort = read_cohort(path)

    assert (cohort.case_ids[0], cohort.gene_ids[-1]) == ("P00", "G006")
    assert cohort.obs.index.tolist() == list(cohort.case_ids)


def test_rows_of_cases_are_in_the_order_asked_for(path: Path) -> None:
    assert read_cohort(path).rows_of(["P05", "P00", "P12"]).tolist() == [5, 0, 12]


def test_only_what_is_needed_is_read(path: Path) -> None:
    with edit(path) as file:
        file["obsm/broken"] = 1.0
        file["obsm/broken"].attrs["encoding-type"] = "from-the-future"

    assert len(read_cohort(path).case_ids) == 13


def test_a_guessed_scale_is_marked_and_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = read_cohort(path)

    assert (cohort.scale, cohort.scale_guessed) == ("log", True)
    assert "guessed 'log'" in cohort.warnings[0]
    assert caplog.messages == list(cohort.warnings)


def test_the_file_declares_its_scale(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_cohort(tmp_path / "g.h5ad", declared="log2")

    cohort = read_cohort(path)

    assert (cohort.scale, cohort.scale_guessed, caplog.messages) == ("log2", False, [])


def test_the_option_beats_the_file(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", scale="fpkm", declared="fpkm")

    assert read_cohort(path, scale="tpm").scale == "tpm"


def test_standardised_values_pass_when_declared(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", scale="standardised", declared="standardised")

    assert read_cohort(path).scale == "standardised"


def test_standardised_values_are_refused_unless_declared(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", scale="standardised")

    message = refusal(path)

    assert "looks standardised, but it is not declared as such" in message
    assert "--scale standardised" in message


def test_no_guess_between_log_and_linear(tmp_path: Path) -> None:
    values = draw_values(["a", "b"] * 3, 5)
    values[2, 3] = 40.5

    message = refusal(make_cohort(tmp_path / "g.h5ad", n_cases=6, n_genes=5, values=values))

    assert "40.5" in message
    assert "--scale" in message


def test_an_unknown_scale_in_the_file_offers_the_nearest(tmp_path: Path) -> None:
    message = refusal(make_cohort(tmp_path / "g.h5ad", declared="fpmk"))

    assert "'uns/gimp/scale'" in message
    assert "did you mean 'fpkm'?" in message


def test_an_unknown_scale_option_is_wrong_usage(path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'counts'") as caught:
        read_cohort(path, scale="count")

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("scale", ["counts", "fpkm", "fpkm-uq", "tpm", "linear"])
def test_negative_values_are_refused_under_a_scale_that_has_none(
    tmp_path: Path, scale: str
) -> None:
    values = draw_values(["a", "b"] * 3, 5, scale="counts")
    values[3, 1] = -2

    message = refusal(
        make_cohort(tmp_path / "g.h5ad", n_cases=6, n_genes=5, values=values, declared=scale)
    )

    assert f"declared as {scale!r}, but has -2 of case 'P03', gene 'G001'" in message


def test_negative_values_pass_as_log(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", scale="standardised", declared="log2")

    assert read_cohort(path).values.min() < 0


def test_linear_values_under_the_name_of_a_log_scale_are_refused(tmp_path: Path) -> None:
    message = refusal(make_cohort(tmp_path / "g.h5ad", scale="fpkm", declared="log2"))

    assert "declared as 'log2', but looks linear" in message


def test_log_values_under_the_name_of_a_linear_scale_are_warned_of(tmp_path: Path) -> None:
    cohort = read_cohort(make_cohort(tmp_path / "g.h5ad", declared="fpkm"))

    assert "is it logged already?" in cohort.warnings[0]


def test_small_counts_are_not_warned_of(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "g.h5ad", values=np.ones((13, 7)), declared="counts")

    assert read_cohort(path).warnings == ()


def test_cases_of_zeros_are_warned_of_by_name(tmp_path: Path) -> None:
    values = draw_values(["a", "b"] * 3, 5)
    values[[1, 4]] = 0

    cohort = read_cohort(
        make_cohort(tmp_path / "g.h5ad", n_cases=6, n_genes=5, values=values, declared="log")
    )

    assert "2 cases" in cohort.warnings[0]
    assert "'P01', 'P04'" in cohort.warnings[0]


@pytest.mark.skipif(not REAL.exists(), reason="evaluation data are not here")
def test_the_real_cohort_is_guessed_to_be_logged() -> None:
    cohort = read_cohort(REAL)

    assert cohort.values.shape == (608, 779)
    assert (cohort.scale, cohort.scale_guessed) == ("log", True)


def test_a_log_scale_whose_genes_are_all_centred_is_warned_of(tmp_path: Path) -> None:
    path = make_cohort(tmp_path / "scaled.h5ad", n_cases=13, scale="log", declared="log")
    adata = anndata.read_h5ad(path)
    plain = read_cohort(path)
    adata.X = (adata.X - adata.X.mean(axis=0)) / adata.X.std(axis=0)

    scaled, few = Cohort.from_anndata(adata), Cohort.from_anndata(adata[:5].copy())

    assert plain.warnings == few.warnings == ()
    assert "declared as 'log', but the mean of every gene is 0: was it scaled" in scaled.warnings[0]
    assert Cohort.from_anndata(adata, scale="standardised").warnings == ()
