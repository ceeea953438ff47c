"""Identifiers of patients, slides and genes, and when two spellings mean the same."""

from __future__ import annotations

import re

_BARCODE = re.compile(
    r"^(?P<case>TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})"
    r"(?:-(?P<sample>\d{2})[A-Z]?)?"
    r"(?:-\d{2}[A-Z]?-(?P<kind>DX|TS|BS|MS)[A-Z0-9]*)?"
    r"(?![A-Z0-9])",
    re.IGNORECASE,
)
_ENSEMBL = re.compile(r"^ENS[A-Z]*\d{6,}")
_VERSION = re.compile(r"\.\d+")


def same_case(case_id: str) -> str:
    """Patient that an identifier stands for: the first 12 characters of a TCGA barcode.

    Two identifiers belong to one patient when this gives the same for both. What is no TCGA
    barcode stands for itself.

    Returns
    -------
    The patient's name, a TCGA barcode in capitals.

    Examples
    --------
    >>> same_case("TCGA-05-4244-01A-01R-1107-07"), same_case("tcga-05-4244"), same_case("P7")
    ('TCGA-05-4244', 'TCGA-05-4244', 'P7')
    """
    return tcga_case(case_id) or case_id


def tcga_case(name: str) -> str | None:
    """Case that a TCGA barcode begins with.

    Returns
    -------
    Its 12 characters in capitals, or None for any other name.

    Examples
    --------
    >>> tcga_case("TCGA-05-4244-01Z-00-DX1.d4ff32cd"), tcga_case("CMU-1")
    ('TCGA-05-4244', None)
    """
    found = _BARCODE.match(name)
    return found["case"].upper() if found else None


def is_normal_tissue(slide_id: str) -> bool:
    """Whether a TCGA name is of normal tissue or a control: sample code 10 to 29.

    Returns
    -------
    False also for names that do not say.

    Examples
    --------
    >>> is_normal_tissue("TCGA-05-4244-11A-01-TS1"), is_normal_tissue("TCGA-05-4244-01Z-00-DX1")
    (True, False)
    """
    found = _BARCODE.match(slide_id)
    return found is not None and 10 <= int(found["sample"] or 0) <= 29


def tcga_slide_kind(slide_id: str) -> str | None:
    """Whether a slide is diagnostic or frozen, by its TCGA name.

    Returns
    -------
    `dx` (diagnostic, FFPE), `frozen` (TS, BS, MS), or None where the name does not say.

    Examples
    --------
    >>> tcga_slide_kind("TCGA-05-4244-01Z-00-DX1.d4ff"), tcga_slide_kind("TCGA-05-4244-01A-01-BS1")
    ('dx', 'frozen')
    """
    found = _BARCODE.match(slide_id)
    if not found or not found["kind"]:
        return None
    return "dx" if found["kind"].upper() == "DX" else "frozen"


def is_ensembl(gene_id: str) -> bool:
    """Whether a gene is named by its Ensembl id.

    Returns
    -------
    False for symbols and any other name.

    Examples
    --------
    >>> is_ensembl("ENSG00000141510.18"), is_ensembl("ENSGR0000002586"), is_ensembl("TP53")
    (True, True, False)
    """
    return _ENSEMBL.match(gene_id) is not None


def gene_without_version(gene_id: str) -> str:
    """Ensembl id less its version; a copy on Y stays apart.

    Returns
    -------
    The shorter id; any other name as it is.

    Examples
    --------
    >>> gene_without_version("ENSG00000002586.20_PAR_Y"), gene_without_version("AC005150.1")
    ('ENSG00000002586_PAR_Y', 'AC005150.1')
    """
    return _VERSION.sub("", gene_id) if _ENSEMBL.match(gene_id) else gene_id
