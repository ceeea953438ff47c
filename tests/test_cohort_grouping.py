from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.cohort.grouping import (
    biotype_order,
    chromosome_order,
    coexpression_order,
    file_order,
    random_order,
)
from gimp_plugin.errors import CohortError, ConfigError
from gimp_plugin.plugins import registry, split_name


def gene_table(ids, **columns):
    return pd.DataFrame(columns, index=list(ids))


def in_order(ids, order):
    return [ids[gene] for gene in order]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file-order", ("file-order", "")),
        ("gmt:hallmark.gmt", ("gmt", "hallmark.gmt")),
        ("gmt:C:/sets/a.gmt", ("gmt", "C:/sets/a.gmt")),
    ],
)
def test_an_argument_stands_behind_the_first_colon(text, expected):
    assert split_name(text) == expected


@pytest.mark.parametrize("name", ["file-order", "random", "chromosome", "biotype", "coexpression"])
def test_an_argument_that_a_grouping_does_not_take_is_refused(name):
    grouping = registry().load("gene-grouping", name)
    genes = gene_table("AB", chromosome=["1", "2"], start=[1, 2], gene_type=["x", "y"])

    with pytest.raises(ConfigError, match=rf"{name}:sets\.gmt"):
        grouping(["A", "B"], seed=0, genes=genes, expression=np.eye(2), argument="sets.gmt")


def test_the_file_order_changes_nothing():
    assert file_order(["C", "A", "B"], values=None).tolist() == [0, 1, 2]


@given(n_genes=st.integers(1, 40), seed=st.integers(0, 9), data=st.data())
def test_a_random_order_belongs_to_the_genes_and_the_seed(n_genes, seed, data):
    gene_ids = [f"G{gene}" for gene in range(n_genes)]
    shuffled = data.draw(st.permutations(gene_ids))

    order = random_order(gene_ids, seed=seed)

    assert sorted(order.tolist()) == list(range(n_genes))
    assert in_order(gene_ids, order) == in_order(shuffled, random_order(shuffled, seed=seed))


def test_another_seed_gives_another_order():
    gene_ids = [f"G{gene}" for gene in range(30)]

    assert random_order(gene_ids, seed=1).tolist() != random_order(gene_ids, seed=2).tolist()


class TestChromosome:
    def test_chromosomes_stand_in_natural_order_then_start_then_id(self):
        names = ["22", "X", "GL000194.1", "MT", "2", "10", "Y", "1", "GL000008.2"]
        ids = [f"G{place}" for place in range(len(names))]
        genes = gene_table(ids, chromosome=names, start=range(9))

        order = chromosome_order(ids, genes=genes)

        assert [names[gene] for gene in order] == [
            *("1", "2", "10", "22", "X", "Y", "MT"),
            *("GL000008.2", "GL000194.1"),
        ]

    def test_genes_of_a_chromosome_stand_by_number_not_by_text(self):
        ids = ["D", "C", "B", "A"]
        genes = gene_table(ids, chromosome=["chr1"] * 4, start=["1000", "200", "30", "30"])

        assert in_order(ids, chromosome_order(ids, genes=genes)) == ["A", "B", "C", "D"]

    def test_the_prefix_chr_and_m_for_mt_mean_the_same(self):
        ids = ["A", "B", "C", "D"]
        bare = gene_table(ids, chromosome=["MT", "X", "2", "10"], start=[1] * 4)
        with_prefix = gene_table(ids, chromosome=["chrM", "chrX", "chr2", "chr10"], start=[1] * 4)

        expected = chromosome_order(ids, genes=bare).tolist()

        assert chromosome_order(ids, genes=with_prefix).tolist() == expected == [2, 3, 1, 0]

    def test_genes_without_a_position_come_last_by_id_with_a_warning_when_most(self, caplog):
        ids = ["E", "D", "C", "B", "A"]
        genes = gene_table(ids, chromosome=["1", None, "", "9", "2"], start=[5, 1, 1, np.nan, 7])

        with caplog.at_level(logging.WARNING):
            order = chromosome_order(ids, genes=genes)

        assert in_order(ids, order) == ["E", "A", "B", "C", "D"]
        assert "2 of 5 genes" in caplog.text

    @given(data=st.data())
    def test_the_order_does_not_depend_on_how_the_file_was_sorted(self, data):
        rows = [(f"G{gene:02d}", str(gene % 4), gene // 5) for gene in range(23)]
        mixed = data.draw(st.permutations(rows))

        def names(rows):
            ids, chromosome, start = map(list, zip(*rows, strict=True))
            genes = gene_table(ids, chromosome=chromosome, start=start)
            return in_order(ids, chromosome_order(ids, genes=genes))

        assert names(mixed) == names(rows)

    @pytest.mark.parametrize("lacking", ["chromosome", "start"])
    def test_a_cohort_without_positions_is_told_how_to_get_them(self, lacking):
        genes = gene_table("AB", chromosome=["1", "2"], start=[1, 2]).drop(columns=lacking)

        with pytest.raises(CohortError, match=f"column '{lacking}'.*--gene-table"):
            chromosome_order(["A", "B"], genes=genes)

    def test_columns_that_are_empty_are_refused(self):
        genes = gene_table("AB", chromosome=["", None], start=[1, 2])

        with pytest.raises(CohortError, match="0 of 2 genes"):
            chromosome_order(["A", "B"], genes=genes)


class TestBiotype:
    def test_the_largest_biotype_comes_first_and_keeps_the_order_of_the_file(self):
        ids = ["G", "F", "E", "D", "C", "B", "A"]
        types = ["miRNA", "protein_coding", None, "lncRNA", "protein_coding", "lncRNA", "miRNA"]
        genes = gene_table(ids, gene_type=[*types[:6], "protein_coding"])

        order = biotype_order(ids, genes=genes)

        assert in_order(ids, order) == ["F", "C", "A", "D", "B", "G", "E"]

    def test_biotypes_of_one_size_stand_by_name(self):
        ids = ["A", "B", "C", "D"]
        genes = gene_table(ids, gene_type=["snRNA", "miRNA", "snRNA", "miRNA"])

        assert in_order(ids, biotype_order(ids, genes=genes)) == ["B", "D", "A", "C"]

    def test_a_categorical_column_is_read_as_its_text(self):
        types = pd.Categorical(["b", "a", "a"], categories=["b", "a", "unused"])

        assert biotype_order("XYZ", genes=gene_table("XYZ", gene_type=types)).tolist() == [1, 2, 0]

    def test_a_cohort_without_biotypes_is_told_how_to_get_them(self):
        with pytest.raises(CohortError, match=r"column 'gene_type'.*'start'.*--gene-table"):
            biotype_order(["A"], genes=gene_table("A", start=[1]))


def modules(n_cases, n_modules, n_genes, *, seed=0):
    """Genes that follow one hidden profile a module, standardised, and the module of each."""
    rng = np.random.default_rng(seed)
    module = rng.integers(n_modules, size=n_genes)
    profiles = rng.normal(size=(n_cases, n_modules))
    values = profiles[:, module] + 0.7 * rng.normal(size=(n_cases, n_genes))
    return ((values - values.mean(axis=0)) / values.std(axis=0)).astype(np.float32), module


def neighbours_correlation(values, order):
    correlation = np.corrcoef(values[:, order].T)
    return np.diagonal(correlation, offset=1).mean()


class TestCoexpression:
    @pytest.mark.parametrize("n_genes", [331, 2477])
    def test_planted_modules_stand_together_and_in_random_order_they_do_not(self, n_genes):
        values, module = modules(67, 13, n_genes)
        ids = [f"G{gene:04d}" for gene in range(n_genes)]

        order = coexpression_order(ids, expression=values, seed=0)
        control = random_order(ids, seed=0)

        assert sorted(order.tolist()) == list(range(n_genes))
        assert np.mean(np.diff(module[order]) == 0) > 0.9
        assert np.mean(np.diff(module[control]) == 0) < 0.2
        assert neighbours_correlation(values, order) > 0.6
        assert abs(neighbours_correlation(values, control)) < 0.2

    def test_neighbouring_modules_are_the_related_ones(self):
        rng = np.random.default_rng(1)
        family = rng.normal(size=(89, 2))
        module = np.arange(240) % 6
        profiles = family[:, [0, 0, 0, 1, 1, 1]] + 0.6 * rng.normal(size=(89, 6))
        values = (profiles[:, module] + 0.5 * rng.normal(size=(89, 240))).astype(np.float32)

        order = coexpression_order([f"G{gene:03d}" for gene in range(240)], expression=values)

        assert np.count_nonzero(np.diff(module[order] // 3)) == 1

    @pytest.mark.parametrize("n_genes", [97, 2203])
    def test_the_order_is_the_same_again_and_however_the_file_was_sorted(self, n_genes):
        values, _ = modules(31, 7, n_genes)
        ids = [f"G{gene:04d}" for gene in range(n_genes)]
        mixed = np.random.default_rng(5).permutation(n_genes)

        first = coexpression_order(ids, expression=values, seed=3)
        second = coexpression_order(ids, expression=values.copy(), seed=3)
        mixed_ids = [ids[gene] for gene in mixed]
        third = coexpression_order(mixed_ids, expression=values[:, mixed], seed=3)

        assert first.tolist() == second.tolist()
        assert in_order(ids, first) == in_order(mixed_ids, third)

    def test_the_values_of_the_training_cases_are_all_that_counts(self):
        values, _ = modules(31, 7, 97)
        ids = [f"G{gene:04d}" for gene in range(97)]

        order = coexpression_order(ids, expression=values, seed=0)

        assert coexpression_order(ids, expression=3 * values + 1, seed=0).tolist() == order.tolist()
        other, _ = modules(31, 7, 97, seed=9)
        assert coexpression_order(ids, expression=other, seed=0).tolist() != order.tolist()

    def test_genes_that_do_not_vary_come_last_and_twins_do_no_harm(self):
        values = np.zeros((11, 2345), dtype=np.float32)
        values[4, 5:] = 1.0
        values[7, 1000] = 2.0

        order = coexpression_order([f"G{gene:04d}" for gene in range(2345)], expression=values)

        assert sorted(order.tolist()) == list(range(2345))
        assert order[-5:].tolist() == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("n_genes", [1, 2, 3])
    def test_a_handful_of_genes_is_fine(self, n_genes):
        values, _ = modules(17, 2, n_genes)

        order = coexpression_order([f"G{gene}" for gene in range(n_genes)], expression=values)

        assert sorted(order.tolist()) == list(range(n_genes))

    @pytest.mark.parametrize("expression", [None, np.zeros((2, 5), np.float32)])
    def test_without_training_cases_it_is_refused(self, expression):
        with pytest.raises(CohortError, match="3 training cases"):
            coexpression_order(list("ABCDE"), expression=expression)
