from __future__ import annotations

import anndata
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gimp_plugin.cohort.scales import LINEAR, LOGARITHMIC, guess_scale, log_scale, row_blocks
from gimp_plugin.errors import CohortError
from tests.cohort_factory import draw_values


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([[0.5, -0.1], [29.0, 3.0]], "standardised"),
        ([[-3.0, 1e5], [29.0, 3.0]], "standardised"),
        ([[0.0, 7.0], [29.0, 3.0]], "counts"),
        ([[0.0, 70000.0], [29.0, 3.0]], "counts"),
        ([[0.5, 7.0], [30.0, 3.0]], "log"),
        ([[0.5, 7.0], [50.1, 3.0]], "linear"),
    ],
)
def test_the_rule_of_the_guess(values: list[list[float]], scale: str) -> None:
    assert guess_scale(np.array(values, dtype=np.float32)) == scale


@pytest.mark.parametrize("high", [30.1, 40.5, 50.0])
def test_no_guess_where_none_is_safe(high: float) -> None:
    with pytest.raises(CohortError, match=rf"'x' cannot be guessed from a maximum of {high:g}"):
        guess_scale(np.array([[0.5, high]], dtype=np.float32), where="'x'")


def test_a_fraction_in_the_last_block_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gimp_plugin.cohort.scales._BLOCK_VALUES", 6)
    values = np.ones((7, 3), dtype=np.float32)
    values[6, 2] = 0.5

    assert guess_scale(values) == "log"


@pytest.mark.parametrize("n_rows", [1, 2, 7])
def test_row_blocks_cover_each_row_once(monkeypatch: pytest.MonkeyPatch, n_rows: int) -> None:
    monkeypatch.setattr("gimp_plugin.cohort.scales._BLOCK_VALUES", 6)

    rows = [
        row
        for block in row_blocks(np.zeros((n_rows, 3), np.float32))
        for row in range(n_rows)[block]
    ]

    assert rows == list(range(n_rows))


def test_counts_are_scanpys_normalize_total_and_log1p() -> None:
    import scanpy

    counts = draw_values(["a", "b", "a"], 11, scale="counts")
    adata = anndata.AnnData(counts.copy())
    scanpy.pp.normalize_total(adata, target_sum=1e6)
    scanpy.pp.log1p(adata)

    # Both round to single precision, at different places.
    assert np.allclose(log_scale(counts, "counts"), adata.X, rtol=1e-6, atol=0)


def test_a_case_of_zeros_stays_zero() -> None:
    assert not log_scale(np.zeros((2, 3), np.float32), "counts").any()


@pytest.mark.parametrize("scale", LINEAR)
def test_linear_scales_take_log1p(scale: str) -> None:
    values = draw_values(["a", "b"], 5, scale="fpkm")

    assert np.array_equal(log_scale(values, scale), np.log1p(values))


@pytest.mark.parametrize("scale", [*LOGARITHMIC, "standardised"])
def test_log_and_standardised_values_stay(scale: str) -> None:
    values = draw_values(["a", "b"], 5)

    assert log_scale(values, scale) is values


@given(
    counts=arrays(np.float32, (5, 4), elements=st.integers(0, 2**20).map(float)),
    row=st.integers(0, 4),
)
def test_a_case_does_not_depend_on_the_others(counts: np.ndarray, row: int) -> None:
    alone = log_scale(counts[row : row + 1], "counts")

    assert np.array_equal(alone[0], log_scale(counts, "counts")[row])


@given(
    counts=arrays(np.float32, (3, 6), elements=st.integers(0, 2**24).map(float)),
    order=st.permutations(range(6)),
)
def test_the_order_of_the_genes_is_of_no_account(counts: np.ndarray, order: list[int]) -> None:
    assert np.array_equal(
        log_scale(counts[:, order], "counts"), log_scale(counts, "counts")[:, order]
    )
