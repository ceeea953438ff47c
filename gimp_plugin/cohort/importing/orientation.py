"""Whether the rows of a table are genes or cases, by the names on its two sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gimp_plugin.cohort.ids import is_ensembl, tcga_aliquot
from gimp_plugin.cohort.importing.rules import AUTO, CASES_BY_GENES, GENES_BY_CASES
from gimp_plugin.errors import CohortError

WELL_KNOWN = frozenset({
    "TP53", "EGFR", "KRAS", "GAPDH", "ACTB", "MYC", "BRCA1", "BRCA2", "ERBB2", "PTEN", "PIK3CA",
    "CDKN2A", "RB1", "BRAF", "ALK", "MET", "NF1", "STK11", "CD274", "CD8A", "CD4", "CD3E", "KRT5",
    "KRT7", "TP63", "SOX2", "NKX2-1", "NAPSA", "VEGFA", "IL6", "TNF", "STAT3", "JAK2", "NOTCH1",
    "CTNNB1", "APC", "VHL", "IDH1", "ESR1", "PGR", "AR", "MKI67", "TOP2A", "B2M", "HLA-A",
    "HLA-B", "RPLP0", "PPIA", "TUBB", "UBC", "A1BG", "A2M", "TSPAN6", "DPM1",
})  # fmt: skip
"""Well-known symbols; nearly every table of human genes has some of them."""

_GENE_CORNERS = {"gene", "gene_id", "gene_name", "ensembl_id", "hugo_symbol", "symbol", "geneid",
                 "gene_symbol", "entrez_gene_id", "genes"}  # fmt: skip
_CASE_CORNERS = {"case_id", "patient_id", "sample_id", "patient", "case", "case_submitter_id",
                 "bcr_patient_barcode", "barcode"}  # fmt: skip


def orientation_of(
    rows: Sequence[str], columns: Sequence[str], *, corner: str, asked: str, where: str
) -> tuple[str, str]:
    """Decide which side of a table is genes and which is cases.

    A side of Ensembl ids is genes, a side of TCGA barcodes is cases; else the side with more of
    some fifty well-known symbols is genes; else the header of the row names decides.

    Parameters
    ----------
    rows, columns
        Names on the two sides.
    corner
        Header of the row names.
    asked
        The user's choice, or `auto`.
    where
        Name of the table, quoted.

    Returns
    -------
    `genes-by-cases` or `cases-by-genes`, and how it was decided.

    Raises
    ------
    CohortError
        If it cannot be decided.
    """
    if asked != AUTO:
        return asked, "as given"
    by_names = _by_names(rows, columns)
    if by_names is not None:
        return by_names
    if corner.lower() in _GENE_CORNERS:
        return GENES_BY_CASES, f"the names of the rows are headed {corner!r}"
    if corner.lower() in _CASE_CORNERS:
        return CASES_BY_GENES, f"the names of the rows are headed {corner!r}"
    names = f"rows {rows[0]!r}, ..., columns {columns[0]!r}, ..."
    problem = f"{where}: unclear whether rows are genes or cases: {names}"
    ways = f"{GENES_BY_CASES} (one row per gene) or {CASES_BY_GENES} (one row per case)"
    raise CohortError(problem, hint=f"give --orientation {ways}")


def _by_names(rows: Sequence[str], columns: Sequence[str]) -> tuple[str, str] | None:
    """Decide by the names; None if they do not tell."""
    tests: tuple[tuple[str, Callable[[Sequence[str]], float], bool], ...] = (
        ("Ensembl ids", lambda names: _share(names, is_ensembl), True),
        ("TCGA barcodes", lambda names: _share(names, tcga_aliquot), False),
        ("known symbols", lambda names: float(len(WELL_KNOWN.intersection(names))), True),
    )
    for what, score, of_genes in tests:
        found = score(rows), score(columns)
        if max(found) > 2 * min(found):
            are_rows = found[0] > found[1]
            side = "rows" if are_rows else "columns"
            result = GENES_BY_CASES if are_rows is of_genes else CASES_BY_GENES
            return result, f"the {side} have {what}"
    return None


def _share(names: Sequence[str], is_one: Callable[[str], object]) -> float:
    """Share of the names that are of a kind; a stray one among many does not count."""
    n_found = sum(bool(is_one(name)) for name in names)
    share = n_found / len(names)
    return share if share > 0.2 else 0.0
