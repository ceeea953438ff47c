"""Learning curves of a run in one picture, from the metrics of its stages."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {
    "loss": ("loss", "val_loss"),
    "masked patches, L1": ("reconstruction", "val_reconstruction", "val_median"),
    "accuracy": ("val_accuracy", "val_balanced_accuracy"),
    "triplets": ("triplet_", "active_"),
    "squared distances": ("positive_", "negative_"),
}
"""Metrics of each panel, by its title; a name that ends in _ means all that start with it."""

OTHERS = "other"
APART = 100
"""Metrics of which one is so many times as large as another are drawn in two panels."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of Okabe and Ito, which differ for colour-blind readers too."""

LINES = ("-", "--", "-.", ":")
PANEL_INCHES = (3.4, 2.4)
MARGIN_INCHES = (0.5, 0.42)
"""Left of a panel and below it, for the axis numbers; right and above are .15 and .25."""


def learning_curves(stages: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Draw the metrics of each stage by epoch.

    Parameters
    ----------
    stages
        Metrics by stage, as in `metrics.json`: `epochs`, and `chosen_epoch` from 1.

    Returns
    -------
    An SVG file with one row per stage and the chosen epoch marked; the same metrics always give
    the same bytes.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = {name: list(panels_of(stage["epochs"])) for name, stage in stages.items()}
    n_columns = max((len(panels) for panels in rows.values()), default=1)
    n_rows = max(1, len(rows))
    (width, height), (beside, below) = PANEL_INCHES, MARGIN_INCHES
    with rc_context({"svg.hashsalt": "gimp", "font.size": 8}):
        figure = Figure(figsize=(width * n_columns, height * n_rows))
        figure.subplots_adjust(  # by hand: an automatic layout would draw everything twice
            left=beside / width / n_columns,
            right=1 - 0.15 / width / n_columns,
            bottom=below / height / n_rows,
            top=1 - 0.25 / height / n_rows,
            wspace=(beside + 0.15) / (width - beside - 0.15),
            hspace=(below + 0.25) / (height - below - 0.25),
        )
        FigureCanvasSVG(figure)
        for row, (name, panels) in enumerate(rows.items()):
            for column, (title, metrics) in enumerate(panels):
                axes = figure.add_subplot(n_rows, n_columns, row * n_columns + column + 1)
                _draw(axes, stages[name], metrics)
                axes.set_title(f"{name}: {title}", fontsize=9)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def panels_of(epochs: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, list[str]]]:
    """Give the title of each panel of a stage, with its metrics; a title may occur twice."""
    for title, names in _groups(epochs):
        for part in _of_like_size(names, epochs):
            yield title, part


def _groups(epochs: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, list[str]]]:
    """Metrics by the title that they belong to, in alphabetical order: files keep no other."""
    left = {name for epoch in epochs for name in epoch}
    for title, wanted in PANELS.items():
        found = [
            name
            for name in sorted(left)
            if any(name == one or (one.endswith("_") and name.startswith(one)) for one in wanted)
        ]
        left.difference_update(found)
        if found:
            yield title, found
    if left:
        yield OTHERS, sorted(left)


def _of_like_size(
    names: Sequence[str], epochs: Sequence[Mapping[str, float]]
) -> Iterator[list[str]]:
    """Divide metrics where the next larger one is `APART` times as large, the smaller ones last."""
    sizes = {name: max(abs(epoch.get(name, 0.0)) for epoch in epochs) for name in names}
    part: list[str] = []
    for name in sorted(names, key=sizes.__getitem__, reverse=True):
        if part and sizes[name] * APART < sizes[part[-1]] and sizes[name] > 0:
            yield sorted(part)
            part = []
        part.append(name)
    yield sorted(part)


def _draw(axes: Axes, stage: Mapping[str, Any], metrics: Sequence[str]) -> None:
    """Draw some metrics of one stage."""
    from matplotlib.ticker import MaxNLocator

    numbers = range(1, len(stage["epochs"]) + 1)
    for index, name in enumerate(metrics):
        values = [epoch.get(name, float("nan")) for epoch in stage["epochs"]]
        style = LINES[index // len(COLOURS) % len(LINES)] if "val_" not in name else "--"
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(numbers, values, style, color=colour, label=name, marker=".", markersize=3)
    axes.axvline(stage["chosen_epoch"], color="0.6", linewidth=0.8, zorder=0)
    axes.set_xlabel("epoch", labelpad=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)  # numbers fit the margin
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, facecolor="white", framealpha=0.75, edgecolor="none")
