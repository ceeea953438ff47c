"""Section on the embedding: cases as points, coloured and marked by their properties."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gimp_plugin.studies.explanation.embedding import PANELS, POINTS, TSNE, UMAP
from gimp_plugin.studies.report.blocks import Beside, Plot, Text, lacking, said
from gimp_plugin.studies.report.charts import N_STYLES, Chart, Series
from gimp_plugin.studies.report.explained import (
    EXPLAIN,
    NO_EXPLANATION,
    Row,
    number_in,
    rows_of,
)
from gimp_plugin.studies.report.gathering import Reported

TITLES = {TSNE: "t-SNE", UMAP: "UMAP"}
MOST_POINTS = 3000
REST = "all others"
NOTE = "What the head reads, a point a case. Distances between far points mean nothing."


def embedding_of(one: Reported) -> tuple[Text | Beside, ...]:
    """Show the pictures of the embedding.

    Parameters
    ----------
    one
        The run.

    Returns
    -------
    The blocks.
    """
    folder = one.explanation
    if folder is None:
        return lacking(NO_EXPLANATION, EXPLAIN)
    path = folder / POINTS
    rows = rows_of(folder, POINTS, "case_id", "label", "split", "error")
    step = max(1, -(-len(rows) // MOST_POINTS))
    drawn = [tuple(map(Plot, _charts(kind, rows[::step], path))) for kind in TITLES]
    if not any(drawn):
        command = "gimp explain draws it of 5 cases or more, but for a system, without --skip tsne"
        return lacking("no embedding was drawn", command)
    thinned = f" One case of {step} is shown." if step > 1 else ""
    return (said(NOTE + thinned), *(Beside(plots) for plots in drawn if plots))


def _charts(kind: str, rows: Sequence[Row], path: Path) -> Iterator[Chart]:
    """Panels of one kind of picture, one per column that colours the cases."""
    title, columns = TITLES[kind], (f"{kind}_1", f"{kind}_2")
    placed = [
        ((x, y), row)
        for row in rows
        for x, y in [[number_in(row, column, path) for column in columns]]
        if math.isfinite(x) and math.isfinite(y)
    ]
    for panel in PANELS:
        if any(row.get(panel) for _, row in placed):
            points = [(point, row[panel] or "not known") for point, row in placed]
            yield _chart(f"{title} by {panel}", title, points)


def _chart(caption: str, title: str, points: Sequence[tuple[tuple[float, float], str]]) -> Chart:
    """One panel: the most frequent values by name, all others together."""
    counts = Counter(value for _, value in points)
    most = sorted(counts, key=lambda value: (-counts[value], value))
    named = sorted(most if len(most) <= N_STYLES else most[: N_STYLES - 1])
    groups = {name: [point for point, value in points if value == name] for name in named}
    if len(named) < len(most):
        groups[REST] = [point for point, value in points if value not in set(named)]
    x, y = zip(*(point for point, _ in points), strict=True)
    return Chart(
        title=caption,
        alt=f"{caption}: {len(points)} cases, {len(most)} values",
        x_label=f"{title} 1",
        y_label=f"{title} 2",
        x_ticks=_ends(x),
        y_ticks=_ends(y),
        series=[
            Series(label=f"{name} ({len(some)})", points=some, marked=True, joined=False)
            for name, some in groups.items()
        ],
        scattered=True,
    )


def _ends(values: Sequence[float]) -> list[float]:
    """Ends of an axis, with room for markers."""
    low, high = min(values), max(values)
    room = 0.03 * (high - low) or 1.0
    return [low - room, high + room]
