"""Finding the genes of a model in another cohort, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.ids import gene_without_version
from gimp_plugin.errors import CohortError, listed

RULE = "genes are matched by their exact id, then by their Ensembl id without version"


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneMatch:
    """Where each wanted gene stands in a cohort.

    Parameters
    ----------
    columns
        Column of the cohort for each wanted gene, -1 where it has none.
    missing
        Wanted genes that the cohort lacks.
    extra
        Genes of the cohort that nobody wants.
    """

    columns: NDArray[np.int64]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the wanted genes that the cohort has, 0 to 1."""
        return (len(self.columns) - len(self.missing)) / len(self.columns)


def match_genes(wanted: Sequence[str], present: Sequence[str]) -> GeneMatch:
    """Match genes by exact id, then Ensembl ids without their versions.

    Parameters
    ----------
    wanted
        Ids of the model's genes, in its order.
    present
        Ids of the cohort's genes.

    Returns
    -------
    The match.

    Raises
    ------
    CohortError
        If two genes of one side are the same but for their version, and the other side does not
        say which is meant.
    """
    column_of = {gene_id: column for column, gene_id in enumerate(present)}
    columns = [column_of.get(gene_id, -1) for gene_id in wanted]
    taken = set(columns)
    without_version: dict[str, list[int]] = defaultdict(list)
    for column, gene_id in enumerate(present):
        if column not in taken:
            without_version[gene_without_version(gene_id)].append(column)
    for place, gene_id in enumerate(wanted):
        if columns[place] >= 0:
            continue
        candidates = without_version.get(gene_without_version(gene_id), [])
        if len(candidates) > 1 or (candidates and candidates[0] in taken):
            names = listed(sorted(present[column] for column in candidates))
            problem = f"gene {gene_id!r} is not told apart by its version from {names}"
            raise CohortError(problem, hint=f"give each gene once; {RULE}")
        if candidates:
            columns[place] = candidates[0]
            taken.add(candidates[0])
    return GeneMatch(
        columns=np.array(columns, dtype=np.int64),
        missing=tuple(name for name, at in zip(wanted, columns, strict=True) if at < 0),
        extra=tuple(gene_id for column, gene_id in enumerate(present) if column not in taken),
    )
