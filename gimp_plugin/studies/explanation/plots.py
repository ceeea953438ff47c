"""Plots of an explanation; the same numbers give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.storage.atomic import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Colours of Okabe and Ito, which differ for colour-blind readers too; markers add to them."""

MARKERS = "osD^vP*X"
MAX_LEGEND = 12
PANEL_INCHES = 3.6


def gene_bars(names: Sequence[str], means: NDArray[np.float64], *, title: str) -> Figure:
    """Draw the most important genes, and whether they support the class.

    Parameters
    ----------
    names
        Names of the genes, the first on top.
    means
        Mean attribution of each gene, the length of its bar.
    title
        Title of the plot.

    Returns
    -------
    The figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 0.8 + 0.22 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(names))[::-1]
    for sign, label, colour, hatch in (
        (1, "for the class, on average", COLOURS[1], ""),
        (-1, "against it, on average", COLOURS[0], "///"),
    ):
        chosen = (means >= 0) == (sign > 0)
        axes.barh(
            places[chosen], means[chosen], color=colour, hatch=hatch, label=label, edgecolor="white"
        )
    axes.set_yticks(places, [plain(name) for name in names], fontsize=8)
    axes.set_xlabel("mean attribution, nats")
    axes.set_title(plain(title), fontsize=9)
    axes.legend(fontsize=8)
    return figure


def scatter(
    points: NDArray[np.floating], columns: Mapping[str, Sequence[str]], *, title: str
) -> Figure:
    """Draw cases by their embedding, with one panel for each column that colours them.

    Parameters
    ----------
    points
        Shape (case, 2).
    columns
        Value of each case, by name of the panel.
    title
        Name of the axes.

    Returns
    -------
    The figure.
    """
    from matplotlib.figure import Figure

    size = PANEL_INCHES
    figure = Figure(figsize=(size * len(columns), size + 0.4), layout="constrained")
    for number, (name, values) in enumerate(columns.items(), start=1):
        axes = figure.add_subplot(1, len(columns), number)
        _draw(axes, points, values)
        axes.set_title(plain(name), fontsize=9)
        axes.set_xlabel(f"{title} 1", fontsize=8)
        axes.set_ylabel(f"{title} 2", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as `<path>.svg` and `<path>.png`, without a time or a random id.

    Parameters
    ----------
    path
        Path without a suffix.
    figure
        The figure.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with rc_context({"svg.hashsalt": "gimp"}):
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            file = io.BytesIO()
            figure.savefig(file, format=kind, metadata=metadata, dpi=110)
            with whole_file(path.with_name(f"{path.name}.{kind}")) as temporary:
                temporary.write_bytes(file.getvalue())


def plain(text: str) -> str:
    """Make a text that matplotlib does not draw as a formula, and limit its length."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return (shown if len(shown) <= 40 else f"{shown[:37]}...").replace("$", r"\$")


def _draw(axes: Axes, points: NDArray[np.floating], values: Sequence[str]) -> None:
    """Draw the points of each value; rare values that do not fit the legend are grey."""
    found, counts = np.unique(np.array(values, dtype=object).astype(str), return_counts=True)
    order = found[np.argsort(-counts, kind="stable")]
    named = sorted(order[:MAX_LEGEND]) if len(order) > MAX_LEGEND else sorted(order)
    marks = [(name, np.array([value == name for value in values])) for name in named]
    rest = ~np.any([mask for _, mask in marks], axis=0)
    if rest.any():
        left = f"{len(order) - len(named)} more"
        axes.scatter(points[rest, 0], points[rest, 1], s=10, color="#bbbbbb", label=left)
    for number, (name, mask) in enumerate(marks):
        axes.scatter(
            points[mask, 0],
            points[mask, 1],
            s=14,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linewidths=0,
            alpha=0.8,
            label=plain(name) or "unknown",
        )
    axes.legend(fontsize=6, markerscale=1.2, loc="best")
