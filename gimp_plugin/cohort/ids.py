"""Identifiers of patients, slides and genes, and which spellings mean the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BARCODE = re.compile(
    r"^(?P<case>TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})"
    r"(?:-(?P<sample>\d{2})[A-Z]?)?"
    r"(?:-\d{2}[A-Z]?-(?P<kind>DX|TS|BS|MS)[A-Z0-9]*)?"
    r"(?![A-Z0-9])",
    re.IGNORECASE,
)
_ENSEMBL = re.compile(r"^ENS[A-Z]*\d{6,}")
_VERSION = re.compile(r"\.\d+")
_OLD_Y_COPY = re.compile(r"ENSGR(\d{10})")
_ALIQUOT = re.compile(
    r"^(?P<case>TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})(?![A-Z0-9])"
    r"(?:-(?P<code>\d{2})(?P<vial>[A-Z])?(?![A-Z0-9])"
    r"(?:-\d{2}[A-Z]?(?:-(?P<plate>[A-Z0-9]{4}))?(?![A-Z0-9]))?)?",
    re.IGNORECASE,
)


def same_case(case_id: str) -> str:
    """Return the patient that an identifier means: the first 12 characters of a TCGA barcode.

    Two identifiers belong to the same patient if this returns the same for both. An identifier
    that is not a TCGA barcode is returned as it is.

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
    """Return the case that a TCGA barcode begins with.

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
    Also False for names that do not tell.

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
    `dx` (diagnostic, FFPE), `frozen` (TS, BS, MS), or None if the name does not tell.

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


def is_y_copy(gene_id: str) -> bool:
    """Whether a gene is the copy on Y of a gene on X, by its Ensembl id.

    Returns
    -------
    Also False for names that do not tell.

    Examples
    --------
    >>> is_y_copy("ENSG00000002586.20_PAR_Y"), is_y_copy("ENSGR0000002586.13"), is_y_copy("CD99")
    (True, True, False)
    """
    return is_ensembl(gene_id) and (gene_id.endswith("_PAR_Y") or gene_id.startswith("ENSGR"))


def gene_without_version(gene_id: str) -> str:
    """Return an Ensembl id without its version; a copy on Y stays distinct.

    Before GENCODE 25, copies on Y were written with an R, `ENSGR0000002586`; they get today's
    spelling.

    Returns
    -------
    The id without version; any other name as it is.

    Examples
    --------
    >>> gene_without_version("ENSG00000002586.20_PAR_Y"), gene_without_version("AC005150.1")
    ('ENSG00000002586_PAR_Y', 'AC005150.1')
    >>> gene_without_version("ENSGR0000002586.13")
    'ENSG00000002586_PAR_Y'
    """
    if not _ENSEMBL.match(gene_id):
        return gene_id
    bare = _VERSION.sub("", gene_id)
    old_copy = _OLD_Y_COPY.fullmatch(bare)
    return f"ENSG0{old_copy[1]}_PAR_Y" if old_copy else bare


@dataclass(frozen=True, slots=True)
class Aliquot:
    """Parts of a TCGA barcode that describe a sample; missing ones are None or empty."""

    case_id: str
    code: int | None
    vial: str
    plate: str


def tcga_aliquot(name: str) -> Aliquot | None:
    """Parse the parts of a TCGA barcode that distinguish the samples of a case.

    Dots, which R writes for hyphens in column names, are read as hyphens.

    Returns
    -------
    The parts, in capitals, or None for any other name.

    Examples
    --------
    >>> tcga_aliquot("TCGA-05-4244-01A-01R-1107-07")
    Aliquot(case_id='TCGA-05-4244', code=1, vial='A', plate='1107')
    >>> tcga_aliquot("TCGA.05.4244.11"), tcga_aliquot("C3L-00001")
    (Aliquot(case_id='TCGA-05-4244', code=11, vial='', plate=''), None)
    """
    found = _ALIQUOT.match(name.replace(".", "-"))
    if found is None:
        return None
    code = int(found["code"]) if found["code"] else None
    vial, plate = ((found[part] or "").upper() for part in ("vial", "plate"))
    return Aliquot(found["case"].upper(), code, vial, plate)
