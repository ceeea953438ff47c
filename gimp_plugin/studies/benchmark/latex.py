"""The tables of a comparison for a LaTeX document that loads booktabs and graphicx."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gimp_plugin.evaluation.markdown import methods
from gimp_plugin.studies.benchmark import layout
from gimp_plugin.studies.benchmark.table import Tables

START = r"% Needs \usepackage{booktabs,graphicx} and, for names beyond ASCII, a UTF-8 engine."
SPECIAL = {
    **{one: f"\\{one}" for one in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # otherwise read as an argument of the preceding \\
}
SCORES, DIFFERENCES = (0, 1, 2), (0, 3, 4, 5, 6, 7, 8)
"""Columns of `layout.cells` in the first and the second table, which fit the page width."""

PRINTED = 9
FITTED = (
    r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
    "}",
)
"""Code around a table that shrinks it to the text width if it is wider."""

SIGNED = re.compile(r"(?<![\w.-])[+-]\d[\d.]*")
RANGE = re.compile(r"(?<=\d)-(?=\d)")


def as_latex(tables: Tables) -> str:
    """Give tables of the scores, of their differences, and of the seeds if there are several.

    Parameters
    ----------
    tables
        Results of the comparison.

    Returns
    -------
    One `table` environment each; always the same for the same cells.
    """
    header, rows = layout.header(tables), list(layout.cells(tables))
    beside = tables.beside_the_paper
    columns = (*SCORES, PRINTED) if beside else SCORES
    found = tables.evaluated[0] if tables.evaluated else None
    notes = [layout.title(tables), methods(found, tested=False) if found else ""]
    notes += [layout.NOT_OURS] if beside else []
    parts = [
        START,
        _table(notes, _head([header[at] for at in columns]), _of(rows, columns)),
    ]
    differences = [
        f"Differences: the method less {tables.reference}.",
        methods(found, tested=True) if found else "",
        layout.SETTINGS,
    ]
    parts.append(_table(differences, DIFFERENCE_HEAD, _of(rows, DIFFERENCES)))
    spread = list(layout.spread(tables))
    if spread:
        parts.append(_table(["Each seed alone (lowest-highest)."], _head(layout.SEEDS), spread))
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    r"""Escape a text for LaTeX.

    Parameters
    ----------
    text
        Any text; line breaks become spaces, and unprintable characters are removed.

    Returns
    -------
    The text for LaTeX.

    Examples
    --------
    >>> escaped("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    kept = [one for one in " ".join(text.split()) if one.isprintable()]
    return "".join(SPECIAL.get(one, one) for one in kept)


def _head(names: Sequence[str]) -> tuple[str, ...]:
    """Lines of a header, with one name per column."""
    return (rf"{' & '.join(map(escaped, names))} \\",)


DIFFERENCE_HEAD = (
    r"& \multicolumn{2}{c}{accuracy} & \multicolumn{2}{c}{AUC} & & \\",
    r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}",
    *_head(["method", *["difference", "p (Holm)"] * 2, "parameters", "settings"]),
)


def _of(rows: Iterable[Sequence[str]], columns: Sequence[int]) -> list[list[str]]:
    """Some columns of a table."""
    return [[row[at] for at in columns] for row in rows]


def _table(notes: Iterable[str], head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A floating table; its first column is text, the others are numbers."""
    lines = [" & ".join([escaped(name), *map(_cell, others)]) for name, *others in rows]
    before, after = FITTED
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(' '.join(notes))}}}",
            r"\smallskip",
            r"\footnotesize",
            before,
            rf"\begin{{tabular}}{{@{{}}l{'r' * (len(rows[0]) - 1)}@{{}}}}",
            r"\toprule",
            *head,
            r"\midrule",
            *(rf"{line} \\" for line in lines),
            r"\bottomrule",
            rf"\end{{tabular}}{after}",
            r"\end{table}",
        ]
    )


def _cell(text: str) -> str:
    """Format a cell of numbers: signs in math mode, ranges with a dash."""
    return SIGNED.sub(r"$\g<0>$", RANGE.sub("--", escaped(text)))
