"""Orders of the genes: neighbouring genes share a fragment, neighbouring fragments a group.

A grouping is a function that returns a permutation of the genes: entry i is the index, in
`gene_ids`, of the gene that the model reads at place i. It is called as `grouping(gene_ids, *,
seed, genes, expression, argument)` with the seed of the run; the cohort's table of the genes
(`var`), whose index is `gene_ids`; the standardised values of the training cases, shape (case,
gene), or None; and the text after the colon in `NAME:ARGUMENT`. It ignores what it does not need.
"""

from __future__ import annotations

from gimp_plugin.cohort.grouping.annotation import biotype_order, chromosome_order
from gimp_plugin.cohort.grouping.basic import file_order, random_order
from gimp_plugin.cohort.grouping.coexpression import coexpression_order
from gimp_plugin.cohort.grouping.gene_sets import gene_set_order, read_gmt

__all__ = [
    "biotype_order",
    "chromosome_order",
    "coexpression_order",
    "file_order",
    "gene_set_order",
    "random_order",
    "read_gmt",
]
