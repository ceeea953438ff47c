"""Names of cases and genes: the rules they must meet, and the other names of a gene."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gimp_plugin.cohort.ids import is_ensembl
from gimp_plugin.errors import CohortError, counted, listed

if TYPE_CHECKING:
    import pandas as pd

NOUN = {"obs": "cases", "var": "genes"}
GENE_NAME = "gene_name"
OTHER_NAMES = (GENE_NAME, "gene_symbols", "gene_symbol", "symbol", "feature_name", "gene_ids")
"""Columns of `var` with other names of a gene: ours, then those of scanpy and CELLxGENE."""
GENE_COLUMNS = (*OTHER_NAMES, "gene_type", "chromosome", "start", "end", "strand")
"""Columns of `var` that are read; others are ignored."""

_REMEDY = {
    "obs": "keep one row per case; for several samples per patient: gimp import-genes --case-key",
    "var": "combine them with gimp import-genes --duplicate-genes sum, mean or first",
}


_DATE = re.compile(
    r"\d{1,2}[-./ ]{1,2}[A-Za-z]{3,4}([-./ ]\d{2,4})?"
    r"|[A-Z][a-z]{2,3}[-./ ]\d{1,2}"
    r"|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}.*"
)
_WORD = re.compile(r"[a-z]{3,}([_. ][a-z]+)*|[a-z]+([_. ][a-z]+)+")


def doubtful_names(gene_ids: Sequence[str]) -> list[str]:
    """Report names that are unlikely to be those of genes.

    A spreadsheet turns MARCH1 into 1-Mar and SEPT2 into 2-Sep (doi 10.1186/s13059-016-1044-7); a
    lower-case word among symbols, such as `age_at_diagnosis`, is a column that is not a gene.

    Parameters
    ----------
    gene_ids
        Names of the genes.

    Returns
    -------
    One sentence for each kind of doubtful name.

    Examples
    --------
    >>> doubtful_names(["TP53", "1-Mar", "Sep-02", "C1orf112"])
    ["2 genes are named like dates, as a spreadsheet renames them: '1-Mar', 'Sep-02'"]
    """
    dates = [name for name in gene_ids if _DATE.fullmatch(name)]
    words = [name for name in gene_ids if _WORD.fullmatch(name)]
    told = []
    if dates:
        named = counted(len(dates), "gene is named like a date", "genes are named like dates")
        text = f"{named}, as a spreadsheet renames them"
        told.append(f"{text}: {listed(dates)}")
    if 0 < len(words) <= len(gene_ids) / 5:
        named = counted(len(words), "gene is named by a word", "genes are named by words")
        text = f"{named} in lower case, unlike the others"
        told.append(f"{text}: {listed(words)}")
    return told


def checked_names(names: Iterable[object], *, table: str, path: str) -> tuple[str, ...]:
    """Return the names of the cases or the genes as text, checking them.

    Parameters
    ----------
    names
        The index of `obs` or `var`.
    table
        `obs` or `var`.
    path
        The file, for messages.

    Returns
    -------
    The names.

    Raises
    ------
    CohortError
        If there are no names, or one is empty or repeated; or if genes are only numbered, as
        AnnData does where it is given no names: another order of the genes would go unnoticed.
    """
    ids = tuple("" if name is None or name != name else str(name) for name in names)  # noqa: PLR0124  # NaN
    noun, where = NOUN[table], f"{table}_names of {path!r}"
    if not ids:
        raise CohortError(f"{path!r} has 0 {noun}", hint="give a cohort with values")
    if "" in ids:
        problem = f"{where}: entry {ids.index('')} is empty, expected a name"
        raise CohortError(problem, hint=f"name all {noun}")
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        problem = f"{where} are not unique: {len(repeated)} appear more than once: "
        raise CohortError(problem + listed(repeated), hint=_REMEDY[table])
    if table == "var" and ids == tuple(map(str, range(len(ids)))):
        problem = f"{where} only number the genes, {listed(ids, limit=3)}: expected their names"
        raise CohortError(problem, hint="set adata.var_names to gene ids or symbols")
    return ids


def check_one_kind(gene_ids: Sequence[str], path: str) -> None:
    """Refuse a cohort that mixes Ensembl ids with other names of genes.

    Raises
    ------
    CohortError
        If there are both; the message gives the number of each and the first ones.
    """
    ensembl = [name for name in gene_ids if is_ensembl(name)]
    if 0 < len(ensembl) < len(gene_ids):
        others = [name for name in gene_ids if not is_ensembl(name)]
        problem = (
            f"var_names of {path!r} mix {len(ensembl)} Ensembl ids ({listed(ensembl, limit=3)}) "
            f"and {len(others)} other names ({listed(others, limit=3)})"
        )
        hint = "keep one kind with gimp import-genes --gene-ids ensembl or symbols"
        raise CohortError(problem, hint=hint)


def other_names(genes: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return the names of each gene other than its id, from the columns that hold names.

    Parameters
    ----------
    genes
        Table of the genes, one row each.

    Returns
    -------
    Names of each gene without empty ones, in the order of `OTHER_NAMES`.
    """
    columns = [genes[name].tolist() for name in OTHER_NAMES if name in genes]
    if not columns:
        return [()] * len(genes)
    return [
        tuple(dict.fromkeys(name for name in row if isinstance(name, str) and name.strip()))
        for row in zip(*columns, strict=True)
    ]
