"""Check of a gene grouping."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gimp_plugin.plugins.protocols import GeneGrouping
from gimp_plugin.testing.claims import require

N_CASES = 9


def check_gene_grouping(
    grouping: GeneGrouping, *, argument: str = "", genes: pd.DataFrame | None = None
) -> None:
    """Check a gene grouping.

    Parameters
    ----------
    grouping
        The registered component.
    argument
        Text that a user writes after the colon of its name.
    genes
        Table of the genes, `var` of a cohort; by default a table with all columns that
        `gimp import-genes --gene-table` adds.
    """
    table = made_up_genes(31) if genes is None else genes
    for part in (table, table.iloc[:1]):
        _check_order(grouping, part, argument)


def made_up_genes(n_genes: int) -> pd.DataFrame:
    """Table of genes with their names, biotypes and positions."""
    numbers = np.random.default_rng(0).permutation(n_genes)
    return pd.DataFrame(
        {
            "gene_name": [f"GENE{number}" for number in numbers],
            "gene_type": [("protein_coding", "lncRNA", "miRNA")[number % 3] for number in numbers],
            "chromosome": [f"chr{number % 5 + 1}" for number in numbers],
            "start": 1000 * numbers,
        },
        index=[f"ENSG{number:011d}" for number in numbers],
    )


def _check_order(grouping: GeneGrouping, genes: pd.DataFrame, argument: str) -> None:
    """Check that it gives a permutation, the same for one seed, and does not change its input."""
    ids = [str(name) for name in genes.index]
    values = np.random.default_rng(1).normal(size=(N_CASES, len(ids))).astype(np.float32)
    given_genes, given_values = genes.copy(), values.copy()
    first, second = (
        np.asarray(
            grouping(
                list(ids), seed=3, genes=given_genes, expression=given_values, argument=argument
            )
        )
        for _ in range(2)
    )
    what = f"the order of {len(ids)} genes"
    require(first.dtype.kind in "iu", f"{what} is of {first.dtype}, expected integers")
    permutes = sorted(first.tolist()) == list(range(len(ids)))
    require(permutes, f"{what} is not a permutation: each index from 0 must occur once")
    require(np.array_equal(first, second), f"one seed gave two orders of {len(ids)} genes")
    unchanged = given_genes.equals(genes) and np.array_equal(given_values, values)
    require(unchanged, "it changed its input")
