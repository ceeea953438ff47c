"""Format numbers and tables for people, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

SAME = 1e-12
"""Smaller differences of scores count as rounding errors."""


def number(value: float) -> str:
    """Format with three decimals; a value below 1 is never rounded up to 1.

    Returns
    -------
    The text.

    Examples
    --------
    >>> number(0.97349), number(0.9996), number(1.0)
    ('0.973', '>0.999', '1.000')
    """
    said = f"{value:.3f}"
    return ">0.999" if said == "1.000" and value < 1 - SAME else said


def interval(low: float | None, high: float | None) -> str:
    """Format both ends of an interval; empty if there is none.

    Returns
    -------
    The text.

    Examples
    --------
    >>> interval(0.9712, 0.9991), interval(None, None)
    ('0.971-0.999', '')
    """
    return "" if low is None or high is None else f"{low:.3f}-{high:.3f}"


def difference(value: float, ends: tuple[float, float] | None = None) -> str:
    """Format a difference with its sign, and its interval if it has one.

    Returns
    -------
    The text.

    Examples
    --------
    >>> difference(0.01234), difference(-0.02, (-0.051, 0.0112))
    ('+0.012', '-0.020 (-0.051 to +0.011)')
    """
    said = f"{value:+.3f}"
    return said if ends is None else f"{said} ({ends[0]:+.3f} to {ends[1]:+.3f})"


def p_value(value: float) -> str:
    """Format a p-value with two significant digits.

    Returns
    -------
    The text.

    Examples
    --------
    >>> p_value(0.03412), p_value(0.00009), p_value(1.0)
    ('0.034', '9e-05', '1')
    """
    return f"{value:.2g}"


def shown(path: Path) -> str:
    """Format a path for a result; of an absolute path, keep only the name.

    Returns
    -------
    The text.

    Examples
    --------
    >>> shown(Path("/home/her/a.csv")), shown(Path("seeds/a.csv"))
    ('a.csv', 'seeds/a.csv')
    """
    return path.name if path.is_absolute() else path.as_posix()


def name_of(tables: Sequence[Path], *, folders: bool = True) -> str:
    """Name a system after its tables.

    Parameters
    ----------
    tables
        The tables, at least one.
    folders
        Include the folders of a relative path.

    Returns
    -------
    The first table, and the number of further ones.

    Examples
    --------
    >>> name_of([Path("abmil/0.csv"), Path("abmil/1.csv")])
    'abmil/0.csv and 1 more'
    """
    first, *more = tables
    name = shown(first) if folders else first.name
    return f"{name} and {len(more)} more" if more else name


def numbered(names: Iterable[str]) -> list[str]:
    """Add a number to names that occur again.

    Returns
    -------
    As many names, all different.

    Examples
    --------
    >>> numbered(["a.csv", "b.csv", "a.csv"])
    ['a.csv', 'b.csv', 'a.csv (2)']
    """
    found: dict[str, None] = {}
    for name in names:
        tries = (f"{name} ({number})" if number > 1 else name for number in count(1))
        found[next(one for one in tries if one not in found)] = None
    return list(found)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table whose columns are also aligned as plain text.

    The first column is text; the others are numbers, aligned to the right.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Cells of each row, one per column.

    Returns
    -------
    Lines without a line break at the end.

    Examples
    --------
    >>> print(table(["class", "cases"], [["LUAD", "7"]]))
    | class | cases |
    | ----- | ----: |
    | LUAD  |     7 |
    """
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def page(parts: Iterable[str]) -> str:
    r"""Join tables and paragraphs into one text, in which no class or file name acts as HTML.

    Returns
    -------
    The text.

    Examples
    --------
    >>> print(page(["2 <b>", "done"]), end="")
    2 \<b>
    <BLANKLINE>
    done
    """
    return "\n\n".join(parts).replace("<", "\\<") + "\n"
