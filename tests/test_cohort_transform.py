from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.gene_table import gene_rows, transform_of_rows
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.errors import CohortError
from tests.cohort_factory import cohort_in_memory, draw_values

LABELS = ["a", "b", "a"] * 4
TRAIN = ["P00", "P03", "P04", "P07", "P09"]


def cohort_of(n_genes: int = 9, *, scale: str = "log", seed: int = 0) -> Cohort:
    return cohort_in_memory(draw_values(LABELS, n_genes, scale=scale, seed=seed), scale=scale)


def with_genes(cohort: Cohort, order: list[int], gene_ids: list[str] | None = None) -> Cohort:
    gene_ids = gene_ids or [cohort.gene_ids[gene] for gene in order]
    return cohort_in_memory(cohort.values[:, order], scale=cohort.scale, gene_ids=list(gene_ids))


def with_another_case(cohort: Cohort, case_id: str) -> Cohort:
    values = cohort.values.copy()
    values[cohort.case_ids.index(case_id)] = values.max(axis=0) + np.arange(values.shape[1])
    return replace(cohort, values=values)


# ---- fitting


@pytest.mark.parametrize("scale", ["log", "fpkm", "counts", "standardised"])
def test_training_cases_have_mean_0_and_sd_1(scale: str) -> None:
    cohort = cohort_of(scale=scale)

    values, _ = GeneTransform.fit(cohort, TRAIN).apply(cohort)

    # Values are stored in single precision.
    training = values[cohort.rows_of(TRAIN)].astype(float)
    assert np.allclose(training.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(training.std(axis=0), 1, atol=1e-5)


def test_the_statistics_are_those_of_numpy() -> None:
    cohort = cohort_of(scale="fpkm")

    transform = GeneTransform.fit(cohort, TRAIN)

    logs = np.log1p(cohort.values[cohort.rows_of(TRAIN)]).astype(float)
    assert np.allclose(transform.mean, logs.mean(axis=0), rtol=1e-13)
    assert np.allclose(transform.std, logs.std(axis=0), rtol=1e-13)


@pytest.mark.parametrize(("case_id", "same"), [("P01", True), ("P03", False)])
def test_only_training_cases_move_the_statistics(case_id: str, same: bool) -> None:
    cohort = cohort_of(scale="counts")

    before = GeneTransform.fit(cohort, TRAIN)
    after = GeneTransform.fit(with_another_case(cohort, case_id), TRAIN)

    assert np.array_equal(before.mean, after.mean) is same
    assert np.array_equal(before.std, after.std) is same


def test_the_depth_of_sequencing_does_not_move_the_statistics() -> None:
    cohort = cohort_of(scale="counts")
    deeper = replace(cohort, values=cohort.values * 2)

    assert np.array_equal(
        GeneTransform.fit(deeper, TRAIN).mean, GeneTransform.fit(cohort, TRAIN).mean
    )


def test_the_order_of_the_cases_is_of_no_account() -> None:
    cohort = cohort_of()
    backwards = replace(cohort, values=cohort.values[::-1], case_ids=cohort.case_ids[::-1])

    one, other = GeneTransform.fit(cohort, TRAIN), GeneTransform.fit(backwards, TRAIN[::-1])

    assert np.array_equal(one.mean, other.mean)
    assert np.array_equal(one.std, other.std)


def test_a_constant_gene_gives_zeros() -> None:
    cohort = cohort_of()
    cohort.values[:, 2] = 4.5
    cohort.values[:, 5] = 0

    values, _ = GeneTransform.fit(cohort, TRAIN).apply(cohort)

    assert not values[:, [2, 5]].any()


def test_values_are_clipped() -> None:
    cohort = cohort_of()
    cohort.values[1, 0], cohort.values[2, 0] = 1e6, -1e6

    values, _ = GeneTransform.fit(cohort, TRAIN, clip=10.0).apply(cohort)

    assert values[[1, 2], 0].tolist() == [10.0, -10.0]


def test_no_training_case_is_refused() -> None:
    with pytest.raises(CohortError, match="at least one training case"):
        GeneTransform.fit(cohort_of(), [])


# ---- genes of another cohort


@given(order=st.permutations(range(9)), scale=st.sampled_from(["log", "counts", "fpkm"]))
def test_permuted_genes_give_the_same_values(order: list[int], scale: str) -> None:
    cohort = cohort_of(scale=scale)
    transform = GeneTransform.fit(cohort, TRAIN)

    permuted, coverage = transform.apply(with_genes(cohort, order))

    assert coverage == 1.0
    assert np.array_equal(permuted, transform.apply(cohort)[0])


@given(order=st.permutations(range(9)))
def test_fitting_and_permuting_commute(order: list[int]) -> None:
    cohort = cohort_of()

    fitted = GeneTransform.fit(cohort, TRAIN).permuted(np.array(order))

    again = GeneTransform.fit(with_genes(cohort, order), TRAIN)
    assert fitted.gene_ids == again.gene_ids
    assert np.array_equal(fitted.mean, again.mean)
    assert np.array_equal(fitted.apply(cohort)[0], again.apply(cohort)[0])


def test_blocks_join_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = cohort_of(scale="counts")
    transform = GeneTransform.fit(cohort, TRAIN)
    whole, _ = transform.apply(cohort)

    monkeypatch.setattr("gimp_plugin.cohort.scales._BLOCK_VALUES", 20)

    assert np.array_equal(transform.apply(cohort)[0], whole)


def test_a_missing_gene_is_the_training_mean_and_extras_are_dropped() -> None:
    cohort = cohort_of(20)
    transform = GeneTransform.fit(cohort, TRAIN)
    other = with_genes(cohort, [*range(6), *range(7, 20), 0])
    other = replace(other, gene_ids=(*other.gene_ids[:-1], "NEW"))

    values, coverage = transform.apply(other)

    assert coverage == 0.95
    assert not values[:, 6].any()
    assert np.array_equal(np.delete(values, 6, 1), np.delete(transform.apply(cohort)[0], 6, 1))
    assert transform.match(other).missing == ("G006",)
    assert transform.match(other).extra == ("NEW",)


def test_too_few_genes_are_refused_with_a_list() -> None:
    cohort = cohort_of(20)
    transform = GeneTransform.fit(cohort, TRAIN)

    with pytest.raises(CohortError) as caught:
        transform.apply(with_genes(cohort, list(range(2, 20))))

    assert "18 of the model's 20 genes (0.900, expected at least 0.95)" in str(caught.value)
    assert "'G000', 'G001'" in str(caught.value)
    assert "--min-gene-coverage" in str(caught.value)
    assert "'memory.h5ad'" in str(caught.value)


def test_the_least_coverage_may_be_lowered_but_not_to_nothing() -> None:
    cohort = cohort_of(20)
    transform = GeneTransform.fit(cohort, TRAIN)

    _, coverage = transform.apply(with_genes(cohort, [3, 4]), min_coverage=0.1)

    assert coverage == pytest.approx(0.1)
    with pytest.raises(CohortError, match="0 of the model's 20 genes"):
        transform.apply(with_genes(cohort, [0], ["other"]), min_coverage=0.0)


ENSEMBL = [f"ENSG{number:011d}" for number in range(9)]


@pytest.mark.parametrize(("trained", "given_"), [(".1", ""), ("", ".12"), (".1", ".2")])
def test_ensembl_versions_are_of_no_account(trained: str, given_: str) -> None:
    cohort = with_genes(cohort_of(), list(range(9)), [gene_id + trained for gene_id in ENSEMBL])
    other = with_genes(
        cohort, list(range(9))[::-1], [gene_id + given_ for gene_id in ENSEMBL[::-1]]
    )
    transform = GeneTransform.fit(cohort, TRAIN)

    values, coverage = transform.apply(other)

    assert coverage == 1.0
    assert np.array_equal(values, transform.apply(cohort)[0])


def test_the_copy_on_y_is_another_gene() -> None:
    cohort = with_genes(cohort_of(2), [0, 1], ["ENSG00000002586.20", "ENSG00000002586.20_PAR_Y"])
    other = with_genes(cohort, [1, 0], ["ENSG00000002586_PAR_Y", "ENSG00000002586"])
    transform = GeneTransform.fit(cohort, TRAIN)

    assert np.array_equal(transform.apply(other)[0], transform.apply(cohort)[0])


def test_an_exact_id_goes_before_one_without_version() -> None:
    cohort = with_genes(cohort_of(2), [0, 1], ["ENSG00000000003.1", "B"])
    other = with_genes(cohort, [1, 1, 0], ["ENSG00000000003.2", "B", "ENSG00000000003.1"])
    transform = GeneTransform.fit(cohort, TRAIN)

    assert np.array_equal(transform.apply(other)[0], transform.apply(cohort)[0])


@pytest.mark.parametrize(
    ("trained", "given_"),
    [
        (["ENSG00000000003", "B"], ["ENSG00000000003.1", "ENSG00000000003.2"]),
        (["ENSG00000000003.1", "ENSG00000000003.2"], ["ENSG00000000003", "B"]),
    ],
)
def test_genes_told_apart_by_their_version_only_are_refused(
    trained: list[str], given_: list[str]
) -> None:
    cohort = with_genes(cohort_of(2), [0, 1], trained)
    transform = GeneTransform.fit(cohort, TRAIN)

    with pytest.raises(CohortError, match=r"differs from .* only by its version"):
        transform.apply(with_genes(cohort, [0, 1], given_))


def test_another_scale_is_refused_and_both_are_named() -> None:
    cohort = cohort_of(scale="counts")
    transform = GeneTransform.fit(cohort, TRAIN)

    with pytest.raises(CohortError, match="trained on the scale 'counts'") as caught:
        transform.apply(replace(cohort, scale="log", scale_guessed=True))

    assert "'memory.h5ad' is on 'log' (guessed)" in str(caught.value)
    assert caught.value.exit_code == 3


def test_log_values_called_linear_are_refused_where_the_training_was_linear() -> None:
    cohort = cohort_of(40, scale="fpkm")
    transform = GeneTransform.fit(cohort, TRAIN)

    with pytest.raises(CohortError, match="declared as 'fpkm', but looks like 'log'"):
        transform.apply(replace(cohort, values=np.log2(cohort.values + 1)))


def test_linear_values_pass_where_the_training_was_linear() -> None:
    cohort = cohort_of(40, scale="fpkm")

    values, _ = GeneTransform.fit(cohort, TRAIN).apply(replace(cohort, values=cohort.values * 1.1))

    assert values.any()


def test_an_order_that_loses_a_gene_is_refused() -> None:
    with pytest.raises(CohortError, match="not a permutation of 3 genes"):
        GeneTransform.fit(cohort_of(3), TRAIN).permuted(np.array([0, 1, 1]))


def named(symbols: list[str], gene_ids: list[str], order: list[int]) -> Cohort:
    values = cohort_of(len(symbols)).values[:, order]
    return cohort_in_memory(
        values,
        gene_ids=[gene_ids[gene] for gene in order],
        genes={"gene_name": [symbols[gene] for gene in order]},
    )


def test_a_model_of_ensembl_ids_reads_symbols_and_the_other_way_round() -> None:
    symbols = [f"SYM{number}" for number in range(9)]
    order = [3, 1, 0, 2, 8, 7, 5, 4, 6]
    by_id, by_symbol = (named(symbols, ids, list(range(9))) for ids in (ENSEMBL, symbols))
    shuffled = (named(symbols, ids, order) for ids in (symbols, ENSEMBL))

    for trained, given_ in zip((by_id, by_symbol), shuffled, strict=True):
        transform = GeneTransform.fit(trained, TRAIN)
        values, coverage = transform.apply(given_)

        assert coverage == 1.0
        assert np.array_equal(values, transform.apply(trained)[0])


def test_a_symbol_of_two_genes_matches_neither() -> None:
    by_id = named(["A", "B", "B", "C"], ENSEMBL[:4], [0, 1, 2, 3])
    by_symbol = with_genes(by_id, [0, 1, 3], ["A", "B", "C"])

    match = GeneTransform.fit(by_id, TRAIN).match(by_symbol)

    assert match.missing == (ENSEMBL[1], ENSEMBL[2])
    assert match.columns.tolist() == [0, -1, -1, 2]


def test_a_symbol_means_the_copy_on_x() -> None:
    ids = ["ENSG00000002586.20", "ENSG00000002586.20_PAR_Y", "ENSG00000000003.15"]
    by_id = named(["CD99", "CD99", "TSPAN6"], ids, [0, 1, 2])
    by_symbol = with_genes(by_id, [2, 0], ["TSPAN6", "CD99"])

    match = GeneTransform.fit(by_id, TRAIN).match(by_symbol)

    assert match.columns.tolist() == [1, -1, 0]


def test_the_totals_of_counts_are_of_the_genes_of_the_training() -> None:
    cohort = cohort_of(9, scale="counts")
    transform = GeneTransform.fit(cohort, TRAIN)
    wider = cohort_in_memory(
        np.hstack([cohort.values[:, ::-1], 1000 * cohort.values[:, :2]]),
        scale="counts",
        gene_ids=[*cohort.gene_ids[::-1], "NEW1", "NEW2"],
    )

    assert np.array_equal(transform.apply(wider)[0], transform.apply(cohort)[0])


def test_a_selection_of_counts_keeps_its_totals() -> None:
    cohort = cohort_of(9, scale="counts")
    every = GeneTransform.fit(cohort, TRAIN)
    few = every.selected(np.array([7, 2, 4]))

    values = few.apply(cohort)[0]

    assert np.array_equal(values, every.apply(cohort)[0][:, [7, 2, 4]])
    assert sorted(few.unselected) == ["G000", "G001", "G003", "G005", "G006", "G008"]
    assert every.selected(np.arange(9)).unselected == ()


def test_a_selection_of_counts_finds_the_genes_of_its_totals_by_their_symbols() -> None:
    symbols = [f"SYM{gene}" for gene in range(9)]
    values = cohort_of(9, scale="counts").values
    cohort = cohort_in_memory(values, scale="counts", genes={"gene_name": symbols})
    few = GeneTransform.fit(cohort, TRAIN).selected(np.array([7, 2, 4]))
    read_back = transform_of_rows(gene_rows(few, groups=[0, 0, 1]), scale="counts")
    renamed = cohort_in_memory(cohort.values[:, ::-1], scale="counts", gene_ids=symbols[::-1])

    assert np.array_equal(read_back.apply(renamed)[0], few.apply(cohort)[0])


def test_counts_without_the_genes_of_the_totals_are_refused() -> None:
    cohort = cohort_of(9, scale="counts")
    few = GeneTransform.fit(cohort, TRAIN).selected(np.array([7, 2, 4]))
    bare = with_genes(cohort, [2, 4, 7], ["G002", "G004", "G007"])

    with pytest.raises(CohortError, match=r"has 3 of the 9 genes that made up a case.*'G000'"):
        few.apply(bare)


@pytest.mark.parametrize("places", [[], [0, 0], [9], [-1]])
def test_a_selection_of_no_or_repeated_genes_is_refused(places: list[int]) -> None:
    with pytest.raises(CohortError, match="not distinct positions among 9 genes"):
        GeneTransform.fit(cohort_of(), TRAIN).selected(np.array(places, dtype=np.int64))


def test_log_values_called_counts_are_refused_where_the_training_was_counts() -> None:
    cohort = cohort_of(9, scale="counts")
    logged = replace(cohort, values=np.log2(cohort.values + 1))

    with pytest.raises(CohortError, match="declared as 'counts', but looks like 'log'"):
        GeneTransform.fit(cohort, TRAIN).apply(logged)
