"""Tables 1 and 2 as printed in the paper, row by row, with our method for each row.

Paper, sections 3.2 and 3.3, doi 10.1007/978-3-031-43987-2_49 (arXiv 2309.02702). The tables give
accuracies only, without denominators: each value is a count out of 189 or 190 cases, except one
that is neither. 0.9947 could also be 188 of 189, but the text has 190 test cases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Printed:
    """One row of a table of the paper.

    Parameters
    ----------
    table
        Name of the set of methods.
    row
        Name of the row in the paper.
    method
        Our method for the row.
    accuracy
        Accuracy as printed.
    n_right, n_cases
        The count of cases that gives this accuracy; None if no count does.
    """

    table: str
    row: str
    method: str
    accuracy: str
    n_right: int | None
    n_cases: int | None

    def __str__(self) -> str:
        """Give the accuracy with its count."""
        return self.accuracy if self.n_cases is None else f"{self.accuracy} ({self.count})"

    @property
    def count(self) -> str:
        """Right cases out of all, as a fraction; empty if no count gives the accuracy."""
        return "" if self.n_cases is None else f"{self.n_right}/{self.n_cases}"


_FIRST, _SECOND = "table1", "table2"

PRINTED = (
    Printed(_FIRST, "ABMIL", "abmil", "0.7737", 147, 190),
    Printed(_FIRST, "DSMIL", "dsmil", "0.7566", 143, 189),
    Printed(_FIRST, "CLAM-SB", "clam-sb", "0.8519", 161, 189),
    Printed(_FIRST, "CLAM-MB", "clam-mb", "0.8889", 168, 189),
    Printed(_FIRST, "TransMIL", "transmil", "0.8836", 167, 189),
    Printed(_FIRST, "GiMP (w/o GroupMSA)", "gimp-slides-none", "0.8995", 170, 189),
    Printed(_FIRST, "PORPOISE", "porpoise", "0.9524", 180, 189),
    Printed(_FIRST, "Pathomic Fusion", "pathomic-fusion", "0.9684", 184, 190),
    Printed(_FIRST, "MCAT", "mcat", "0.9632", 183, 190),
    Printed(_FIRST, "GiMP (ours), w/o pre-train", "gimp-genes", "0.9737", 185, 190),
    Printed(_FIRST, "MGCA", "mgca", "0.9105", 173, 190),
    Printed(_FIRST, "BioViL", "biovil", "0.9316", 177, 190),
    Printed(_FIRST, "REFERS", "refers", "0.9368", 178, 190),
    Printed(_FIRST, "GiMP (ours), w/ pre-train", "gimp", "0.9947", 189, 190),
    Printed(_SECOND, "SNN", "gimp-snn", "0.9684", 184, 190),
    Printed(_SECOND, "GroupMSA", "gimp-genes", "0.9737", 185, 190),
    Printed(_SECOND, "MPM", "gimp-mpm", "0.9579", 182, 190),
    Printed(_SECOND, "Triplet", "gimp-image-triplet", "0.9263", 176, 190),
    Printed(_SECOND, "GroupMSA, Triplet", "gimp-triplet", "0.9526", 181, 190),
    Printed(_SECOND, "GroupMSA, Triplet, MPM", "gimp", "0.9974", None, None),
)
"""Rows in the paper's order. For GiMP, the text and Table 1 say 0.9947, and Table 2 says 0.9974."""

SETS = {
    name: tuple(one.method for one in PRINTED if one.table == name) for name in (_FIRST, _SECOND)
}
"""Methods of each table."""


def in_order(methods: Iterable[str], tables: Iterable[str]) -> tuple[str, ...]:
    """Order methods like the rows of some of the paper's tables.

    Parameters
    ----------
    methods
        Names of methods.
    tables
        Names of sets.

    Returns
    -------
    Methods with a row, table by table, each once; then the others in the given order.

    Examples
    --------
    >>> in_order(["gimp", "gimp-mpm", "swapped", "abmil", "gimp-genes"], ["table1", "table2"])
    ('abmil', 'gimp-genes', 'gimp', 'gimp-mpm', 'swapped')
    """
    asked, given = set(tables), tuple(methods)
    rows = dict.fromkeys(one.method for one in PRINTED if one.table in asked)
    first = tuple(name for name in rows if name in given)
    return (*first, *(name for name in given if name not in rows))


def rows_of(tables: Iterable[str], method: str) -> tuple[Printed, ...]:
    """Find the rows of a method in some of the paper's tables.

    Parameters
    ----------
    tables
        Names of sets; other names are ignored.
    method
        Name of a method.

    Returns
    -------
    The rows, in the paper's order.

    Examples
    --------
    >>> [str(one) for one in rows_of(["table1", "table2"], "gimp")]
    ['0.9947 (189/190)', '0.9974']
    """
    asked = set(tables)
    return tuple(one for one in PRINTED if one.table in asked and one.method == method)
