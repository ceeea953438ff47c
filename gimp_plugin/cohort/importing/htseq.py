"""HTSeq counts and FPKM of the GDC before 2022: one file per aliquot, two columns, no header."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from gimp_plugin.cohort.importing.files import check_text, plain_name, read_bytes
from gimp_plugin.cohort.importing.star import parsed

VALUE = "value"
_NAMES = (("fpkm-uq", ".fpkm-uq.txt"), ("fpkm", ".fpkm.txt"), ("counts", ".counts"))


def scale_by_name(path: Path) -> str | None:
    """Return the scale that a file name such as `<uuid>.FPKM.txt.gz` tells.

    Returns
    -------
    `fpkm`, `fpkm-uq`, `counts`, or None.

    Examples
    --------
    >>> scale_by_name(Path("3f1a.FPKM-UQ.txt.gz")), scale_by_name(Path("3f1a.htseq.counts.gz"))
    ('fpkm-uq', 'counts')
    """
    name = plain_name(path).lower()
    return next((scale for scale, ending in _NAMES if name.endswith(ending)), None)


def is_htseq(lines: list[str]) -> bool:
    """Whether the first lines have two cells each, a name and a number, and no header."""
    cells = [line.split("\t") for line in lines]
    return all(len(row) == 2 and row[0] and _is_number(row[1]) for row in cells)


def read_htseq(path: Path) -> pa.Table:
    """Read one file as a table with the columns `gene_id` and `value`.

    Returns
    -------
    All rows, including `__no_feature` and the like.

    Raises
    ------
    CohortError
        If the file is truncated or a value is not a number.
    """
    content = read_bytes(path)
    check_text(path, content[:200].decode("utf-8", "replace"))
    return parsed(path, content, ["gene_id", VALUE], skipped=0, named=False)


def _is_number(text: str) -> bool:
    """Whether a cell is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
