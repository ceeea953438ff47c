"""Small charts as SVG that follows the colours of the page, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 40
LEGEND_PX = 17
N_STYLES = 6
"""Number of line styles in the style sheet; the number of markers differs, so pairs vary."""
MARKERS = (
    "M{x} {y}m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
    "M{x} {y}m-3 -3h6v6h-6z",
    "M{x} {y}m0 -4l4 7h-8z",
    "M{x} {y}m0 -4l4 4l-4 4l-4 -4z",
    "M{x} {y}m-3 -3l6 6m0 -6l-6 6",
)
DOTS = (
    "M{x} {y}h0",
    "M{x} {y}m-2.5 0h5",
    "M{x} {y}m0-4l3.5 6h-7z",
    "M{x} {y}m0-4 4 4-4 4-4-4z",
    "M{x} {y}m-3-3 6 6m0-6-6 6",
)
"""The same markers in fewer letters, for many points. A line of length 0 with round caps is a disc,
and a line as long as it is wide is a square. A line of length 0 with square caps would not be
printed, because PDF does not draw it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line.

    Parameters
    ----------
    label
        Label in the legend.
    points
        x and y; the line has a gap where y is not finite.
    band
        x, low and high of an area around the line.
    bars
        x, low and high of intervals.
    marked
        Whether each point has a marker.
    joined
        Whether points are joined by a line.
    """

    label: str
    points: Points
    band: Sequence[tuple[float, float, float]] = ()
    bars: Sequence[tuple[float, float, float]] = ()
    marked: bool = False
    joined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over two axes.

    Parameters
    ----------
    title, alt
        Caption, and alternative text for readers who cannot see the chart.
    x_label, y_label
        Labels of the axes.
    x_ticks, y_ticks
        Values with a label; the first and the last are the ends of the axes.
    series
        The lines.
    guides
        Thin lines for reference.
    scattered
        Whether the chart has only points, whose coordinates have no meaning by themselves.
    """

    title: str
    alt: str
    x_label: str
    y_label: str
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    series: Sequence[Series]
    guides: Sequence[Points] = field(default_factory=tuple)
    scattered: bool = False

    @property
    def width(self) -> int:
        """Width in pixels."""
        return WIDTH

    @property
    def height(self) -> int:
        """Height in pixels, including the legend."""
        return HEIGHT + LEGEND_PX * len(self.series) + 4

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the axes."""
        return LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        """Position of a value on the horizontal axis."""
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    def y(self, value: float) -> float:
        """Position of a value on the vertical axis."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        share = (value - low) / (high - low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    def line(self, points: Points) -> str:
        """Path of a line; it restarts after a point that is not finite."""
        steps, letter = [], "M"
        for x, y in points:
            if np.isfinite(y):
                steps.append(f"{letter}{self.x(x)} {self.y(y)}")
            letter = "L" if np.isfinite(y) else "M"
        return "".join(steps)

    def area(self, band: Sequence[tuple[float, float, float]]) -> str:
        """Path of an area between two lines."""
        there = [(x, high) for x, _, high in band]
        back = [(x, low) for x, low, _ in reversed(band)]
        return f"{self.line([*there, *back])}Z" if band else ""

    def whiskers(self, bars: Sequence[tuple[float, float, float]]) -> str:
        """Path of intervals."""
        return "".join(self.line([(x, low), (x, high)]) for x, low, high in bars)

    def markers(self, number: int, points: Points) -> str:
        """Path of the markers of a line."""
        shape = self._shape(number)
        return "".join(shape.format(x=self.x(x), y=self.y(y)) for x, y in points if np.isfinite(y))

    def sample(self, number: int) -> tuple[int, str]:
        """Vertical position and marker of a line in the legend."""
        y = HEIGHT + LEGEND_PX * number + 9
        return y, self._shape(number).format(x=LEFT + 14, y=y)

    def _shape(self, number: int) -> str:
        """Path of one marker of a line."""
        shapes = DOTS if self.scattered else MARKERS
        return shapes[number % len(shapes)]


def ticks(values: Sequence[float], *, whole: bool = False) -> list[float]:
    """Choose round numbers that enclose some values, for an axis.

    Parameters
    ----------
    values
        The values; those that are not finite do not count.
    whole
        Use whole numbers only.

    Returns
    -------
    At least two numbers, ascending.
    """
    from matplotlib.ticker import MaxNLocator

    finite = [value for value in values if np.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - 1, high + 1
    found = MaxNLocator(nbins=5, integer=whole).tick_values(low, high)
    return [float(value) for value in found]
