"""Decide which rows of a source are genes, what they are called, and which are combined."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin.cohort.ids import gene_without_version, is_ensembl
from gimp_plugin.cohort.importing.report import Count
from gimp_plugin.cohort.importing.rules import ENSEMBL, ERROR, FIRST, ImportRules
from gimp_plugin.errors import CohortError, counted, listed

GENE_ID = "gene_id"
SUMMARY_ROWS = frozenset({"N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"})


@dataclass(frozen=True, eq=False, kw_only=True)
class GenePlan:
    """Columns of the source that become genes.

    Parameters
    ----------
    columns
        Columns to read; those of one gene are adjacent.
    starts
        Where each gene begins in `columns`.
    genes
        Table of the genes; its index is their cleaned ids.
    how
        How several columns become one gene: `sum` or `mean`.
    counts
        Genes before and after each rule.
    """

    columns: NDArray[np.int64]
    starts: NDArray[np.int64]
    genes: pd.DataFrame
    how: str
    counts: tuple[Count, ...]

    @property
    def combines(self) -> bool:
        """Whether any gene is made of several columns."""
        return len(self.starts) < len(self.columns)


def is_gene(name: str) -> bool:
    """Whether a row is a gene, not a summary line of a counting program."""
    return name not in SUMMARY_ROWS and not name.startswith("__")


def plan_genes(genes: pd.DataFrame, rules: ImportRules, *, where: str) -> GenePlan:
    """Decide which rows of a source become which genes.

    Parameters
    ----------
    genes
        Rows of the source, with the column `gene_id`.
    rules
        What to do with mixed and repeated names.
    where
        Name of the source, quoted.

    Returns
    -------
    The plan.

    Raises
    ------
    CohortError
        If Ensembl ids and other names are mixed, or a gene appears twice, and no rule says what to
        do; if no gene is left.
    """
    names = [name.strip() for name in genes[GENE_ID].tolist()]
    ids = {row: gene_without_version(name) for row, name in enumerate(names)}
    counts = []

    def keep(rule: str, kept: dict[int, str]) -> dict[int, str]:
        counts.append(Count(rule, "genes", len(ids), len(kept)))
        if not kept:
            raise CohortError(f"{where} has no gene left after the rule {rule!r}")
        return kept

    ids = keep("no summary row", {row: name for row, name in ids.items() if is_gene(name)})
    ids = keep("named", {row: name for row, name in ids.items() if name})
    ids = keep("one kind of id", _one_kind(ids, rules.gene_ids, where))
    groups = _groups(ids, rules.duplicate_genes, where)
    counts.append(Count("one row a gene", "genes", len(ids), len(groups)))
    return _plan(genes, groups, rules.duplicate_genes, counts)


def _one_kind(ids: dict[int, str], wanted: str, where: str) -> dict[int, str]:
    """Genes of the wanted kind of id; refuse a mixture if the user has not chosen."""
    ensembl = {row: name for row, name in ids.items() if is_ensembl(name)}
    if wanted != ERROR:
        keeps = wanted == ENSEMBL
        return {row: name for row, name in ids.items() if (row in ensembl) is keeps}
    if 0 < len(ensembl) < len(ids):
        other = next(name for row, name in ids.items() if row not in ensembl)
        problem = (
            f"{where} mixes {len(ensembl)} Ensembl ids ({next(iter(ensembl.values()))!r}) and "
            f"{len(ids) - len(ensembl)} other names ({other!r})"
        )
        hint = "keep one kind with --gene-ids ensembl or --gene-ids symbols"
        raise CohortError(problem, hint=hint)
    return ids


def _groups(ids: dict[int, str], how: str, where: str) -> dict[str, list[int]]:
    """Rows of each gene, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for row, name in ids.items():
        groups.setdefault(name, []).append(row)
    repeated = [name for name, rows in groups.items() if len(rows) > 1]
    if repeated and how == ERROR:
        told = counted(len(repeated), "gene")
        problem = f"{told} of {where} more than once: {listed(repeated)}"
        hint = "give --duplicate-genes sum, mean or first"
        raise CohortError(problem, hint=hint)
    return {name: rows[:1] if how == FIRST else rows for name, rows in groups.items()}


def _plan(
    genes: pd.DataFrame, groups: dict[str, list[int]], how: str, counts: list[Count]
) -> GenePlan:
    """Make a plan from the rows of each gene."""
    lengths = [len(rows) for rows in groups.values()]
    firsts = [rows[0] for rows in groups.values()]
    table = genes.iloc[firsts].copy()
    table.index = pd.Index(list(groups), dtype=object)
    return GenePlan(
        columns=np.array([row for rows in groups.values() for row in rows], dtype=np.int64),
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        genes=table,
        how=how,
        counts=tuple(counts),
    )


def shared(tables: list[pd.DataFrame]) -> list[NDArray[np.int64]]:
    """Find the rows of the genes that all tables have, in the order of the first table.

    Returns
    -------
    Row numbers of each table.
    """
    names = [[gene_without_version(name) for name in table[GENE_ID]] for table in tables]
    unique = [{name for name, n in Counter(one).items() if n == 1} for one in names]
    common = set.intersection(*unique)
    order = [name for name in names[0] if name in common]
    places = [{name: row for row, name in enumerate(one)} for one in names]
    return [np.array([place[name] for name in order], dtype=np.int64) for place in places]
