"""Groupings by annotation: the position and the biotype of each gene."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.grouping.basic import without_argument
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.errors import CohortError, listed

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

CHROMOSOME, START, BIOTYPE = "chromosome", "start", "gene_type"
_LETTERS = {"X": 0, "Y": 1, "M": 2, "MT": 2}
_DIGITS = re.compile(r"(\d+)")

Rank = tuple[int, int, tuple[tuple[int, str], ...]]


def chromosome_order(
    gene_ids: Sequence[str],
    *,
    genes: pd.DataFrame,
    argument: str = "",
    **context: object,  # noqa: ARG001  # what others need
) -> NDArray[np.int64]:
    """Sort the genes by their position on the genome: chromosome, start, id.

    Chromosomes are in natural order: numbers, X, Y, MT, then others by name; with or without
    "chr". Genes of unknown position come last, by id.

    Parameters
    ----------
    gene_ids
        The genes.
    genes
        Table of the genes with the columns `chromosome` and `start`.
    argument
        Must be empty.

    Returns
    -------
    A permutation of the genes.

    Raises
    ------
    CohortError
        If a column is missing, or no gene has a position.
    """
    without_argument("chromosome", argument)
    chromosomes = _column(genes, CHROMOSOME, grouping="chromosome")
    starts = [_number(text) for text in _column(genes, START, grouping="chromosome")]
    known = [
        bool(name) and start is not None for name, start in zip(chromosomes, starts, strict=True)
    ]
    _check_known(gene_ids, known, what=f"{CHROMOSOME!r} and {START!r}", grouping="chromosome")

    def place(gene: int) -> tuple[bool, Rank, float, str]:
        if not known[gene]:
            return True, (0, 0, ()), 0.0, gene_ids[gene]
        return False, _rank(chromosomes[gene]), starts[gene] or 0.0, gene_ids[gene]

    return np.array(sorted(range(len(gene_ids)), key=place), dtype=np.int64)


def biotype_order(
    gene_ids: Sequence[str],
    *,
    genes: pd.DataFrame,
    argument: str = "",
    **context: object,  # noqa: ARG001  # what others need
) -> NDArray[np.int64]:
    """Put the genes of one biotype together, the most frequent first.

    Biotypes of equal size are sorted by name; the genes of a biotype keep the order of the file.
    Genes without a biotype come last.

    Parameters
    ----------
    gene_ids
        The genes.
    genes
        Table of the genes with the column `gene_type`.
    argument
        Must be empty.

    Returns
    -------
    A permutation of the genes.

    Raises
    ------
    CohortError
        If the column is missing or empty.
    """
    without_argument("biotype", argument)
    biotypes = _column(genes, BIOTYPE, grouping="biotype")
    _check_known(
        gene_ids, [bool(name) for name in biotypes], what=repr(BIOTYPE), grouping="biotype"
    )
    size = Counter(biotypes)
    keys = [(not name, -size[name], name) for name in biotypes]
    return np.array(sorted(range(len(gene_ids)), key=keys.__getitem__), dtype=np.int64)


def _column(genes: pd.DataFrame, name: str, *, grouping: str) -> list[str]:
    """Cells of a column of `var` as text; empty text for an empty cell."""
    if name not in genes:
        problem = f"the gene grouping {grouping!r} needs the column {name!r} in var of the cohort"
        has = listed(genes.columns) if len(genes.columns) else "no known column"
        hint = "gimp import-genes --gene-table adds it; or choose another --gene-grouping"
        raise CohortError(f"{problem}, which has {has}", hint=hint)
    return ["" if is_missing(cell) else text_of(cell).strip() for cell in genes[name].tolist()]


def _check_known(
    gene_ids: Sequence[str], known: Sequence[bool], *, what: str, grouping: str
) -> None:
    """Refuse an empty column, and warn of a mostly empty one."""
    n_known = sum(known)
    unknown = [name for name, here in zip(gene_ids, known, strict=True) if not here]
    found = f"{n_known} of {len(gene_ids)} genes have {what}"
    if not n_known:
        hint = "gimp import-genes --gene-table adds it; or choose another --gene-grouping"
        problem = f"the gene grouping {grouping!r} cannot be used: {found} in var"
        raise CohortError(problem, hint=hint)
    if 2 * n_known < len(gene_ids):
        logger.warning("gene grouping %s: only %s; last are %s", grouping, found, listed(unknown))


def _number(text: str) -> float | None:
    """Position in a cell, if it holds one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _rank(chromosome: str) -> Rank:
    """Place of a chromosome in natural order."""
    name = re.sub("^chr(omosome)?[ _]?", "", chromosome, flags=re.IGNORECASE).upper()
    if name.isdecimal():
        return 0, int(name), ()
    if name in _LETTERS:
        return 1, _LETTERS[name], ()
    pieces = _DIGITS.split(name)
    return 2, 0, tuple((int(piece) if piece.isdecimal() else -1, piece) for piece in pieces)
