"""The most variable genes of the training cases, as scanpy finds them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.scales import STANDARDISED, log_scale
from gimp_plugin.errors import CohortError


def variable_genes(
    cohort: Cohort, case_ids: Iterable[str], *, n_top_genes: int
) -> NDArray[np.int64]:
    """Select the most variable genes, by dispersion at equal mean.

    Equals `scanpy.pp.highly_variable_genes` with the flavour `seurat`, on the log scale of the
    training cases; no other case has any influence.

    Parameters
    ----------
    cohort
        The cohort.
    case_ids
        Its training cases.
    n_top_genes
        Number of genes to select.

    Returns
    -------
    Columns of `cohort.values`, in the order of the cohort.

    Raises
    ------
    CohortError
        If the cohort is standardised, so that all genes vary equally, or has no more genes.
    """
    if cohort.scale == STANDARDISED:
        problem = (
            f"{str(cohort.path)!r} is standardised, so that all of its genes have the same variance"
        )
        raise CohortError(problem, hint="leave out --n-top-genes, or give values on another scale")
    if n_top_genes >= len(cohort.gene_ids):
        problem = f"{str(cohort.path)!r} has {len(cohort.gene_ids)} genes, not more than the "
        raise CohortError(f"{problem}{n_top_genes} asked for", hint="lower --n-top-genes")
    import anndata
    import scanpy

    rows = cohort.rows_of(sorted(set(case_ids)))
    training = anndata.AnnData(log_scale(cohort.values[rows], cohort.scale))
    if cohort.scale == "log2":
        training.uns["log1p"] = {"base": 2}
    table = scanpy.pp.highly_variable_genes(
        training, n_top_genes=n_top_genes, flavor="seurat", inplace=False
    )
    return np.flatnonzero(table["highly_variable"].to_numpy())
