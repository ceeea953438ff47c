"""STAR counts of the GDC: one file per aliquot, `*.rna_seq.augmented_star_gene_counts.tsv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from gimp_plugin.cohort.importing.files import check_text, first_lines, read_bytes
from gimp_plugin.errors import CohortError, ConfigError, listed

COLUMNS = {
    "counts": "unstranded",
    "tpm": "tpm_unstranded",
    "fpkm": "fpkm_unstranded",
    "fpkm-uq": "fpkm_uq_unstranded",
}
"""Column of each scale. There is no unstranded FPKM of a stranded library at the GDC."""

SUFFIX = "augmented_star_gene_counts.tsv"
GENE_MODEL = "# gene-model:"
ANNOTATION = ("gene_name", "gene_type")


def is_star(lines: list[str]) -> bool:
    """Whether the first lines are those of a STAR file."""
    if lines[0].startswith(GENE_MODEL):
        return True
    return {"gene_id", "unstranded"} <= set(lines[0].split("\t"))


def column_of(scale: str) -> str:
    """Return the column with the values on a scale.

    Returns
    -------
    Its name.

    Raises
    ------
    ConfigError
        If the files have no such scale.
    """
    if scale not in COLUMNS:
        problem = f"--scale {scale!r}: STAR files have {', '.join(COLUMNS)}"
        raise ConfigError(problem, hint="choose one of them; nothing is logged at import")
    return COLUMNS[scale]


def read_star(path: Path, column: str, *, annotated: bool = False) -> tuple[str, pa.Table]:
    """Read the gene model and the columns of one file.

    Parameters
    ----------
    path
        The file, plain or gzip.
    column
        Column of values.
    annotated
        Whether to read the columns that describe the genes, too.

    Returns
    -------
    The gene model from the first line, and a table of `gene_id`, the column, and the annotation.

    Raises
    ------
    CohortError
        If the file is truncated or lacks a column, or a value is not a number.
    """
    content = read_bytes(path)
    comment = content[: content.find(b"\n")].decode("utf-8", "replace").strip()
    check_text(path, comment)
    has_model = comment.startswith("#")
    wanted = ["gene_id", column, *(ANNOTATION if annotated else ())]
    table = parsed(path, content, wanted, skipped=int(has_model))
    return (comment.removeprefix(GENE_MODEL).strip() if has_model else ""), table


def parsed(
    path: Path, content: bytes, wanted: list[str], *, skipped: int, named: bool = True
) -> pa.Table:
    """Parse columns of a tab-separated table; the second wanted column holds the numbers.

    Returns
    -------
    The columns in the order asked for.

    Raises
    ------
    CohortError
        If the table is truncated, a column is missing, or a value is not a number.
    """
    types: dict[str, Any] = dict.fromkeys(wanted, pa.string())
    types[wanted[1]] = pa.float32()
    try:
        return csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(
                skip_rows=skipped, use_threads=False, column_names=None if named else wanted
            ),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(include_columns=wanted, column_types=types),
        )
    except KeyError as error:
        held = first_lines(path, 2)[skipped].split("\t")
        lacking = [name for name in wanted if name not in held]
        problem = f"{str(path)!r} has no column {', '.join(map(repr, lacking))}"
        hint = "give another --scale"
        raise CohortError(f"{problem}; it has {listed(held, limit=9)}", hint=hint) from error
    except pa.ArrowInvalid as error:
        message = " ".join(str(error).split())
        hint = "it is truncated or damaged: download it again"
        raise CohortError(f"{str(path)!r}: {message}", hint=hint) from error
