"""The table of a comparison for a LaTeX document that loads booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gimp_plugin.studies.benchmark import layout
from gimp_plugin.studies.benchmark.table import Tables

START = "% Needs \\usepackage{booktabs} and, for names beyond ASCII, a UTF-8 engine."
SPECIAL = {
    **{one: f"\\{one}" for one in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # else an argument of the \\ before it
}
SIGNED = re.compile(r"(?<![\w.-])[+-]\d[\d.]*")
RANGE = re.compile(r"(?<=\d)-(?=\d)")


def as_latex(tables: Tables) -> str:
    """Give the table of the methods, and that of the seeds where there are several.

    Parameters
    ----------
    tables
        What was found.

    Returns
    -------
    One `table` environment each; the same for the same cells.
    """
    notes = " ".join(layout.notes(tables))
    caption = f"{layout.title(tables)} {notes}"
    parts = [START, _table(caption, layout.header(tables), layout.cells(tables))]
    spread = list(layout.spread(tables))
    if spread:
        parts.append(_table("Each seed alone (lowest-highest).", layout.SEEDS, spread))
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    r"""Give a text in which no character acts as a command of LaTeX.

    Parameters
    ----------
    text
        Any text; line breaks become spaces.

    Returns
    -------
    The text for LaTeX.

    Examples
    --------
    >>> escaped("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    return "".join(SPECIAL.get(one, one) for one in " ".join(text.split()))


def _table(caption: str, header: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that floats; its first column is text, the others are numbers."""
    names = [escaped(one) for one in header]
    lines = [" & ".join([escaped(name), *map(_cell, others)]) for name, *others in rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
            r"\toprule",
            rf"{' & '.join(names)} \\",
            r"\midrule",
            *(rf"{line} \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _cell(text: str) -> str:
    """Numbers: their signs as mathematics, a range with its dash."""
    return SIGNED.sub(r"$\g<0>$", RANGE.sub("--", escaped(text)))
