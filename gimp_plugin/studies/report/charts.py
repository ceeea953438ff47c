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
"""Colours and dashes that the style sheet has; markers repeat less often."""
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
"""The same in fewer letters, for many points: round caps of a line without length are a disc, and a
line as long as it is wide is a square. Square caps of one without length would not be printed: PDF
draws none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line.

    Parameters
    ----------
    label
        What it shows.
    points
        x and y; a gap where y is not finite.
    band
        x, low and high of an area around it.
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
        Caption, and the same in words for who does not see it.
    x_label, y_label
        Of the axes.
    x_ticks, y_ticks
        Values with a label; the first and the last are the ends of the axes.
    series
        The lines.
    guides
        Thin lines to compare with.
    scattered
        Whether there are points alone, whose places in numbers mean nothing.
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
        """Height in pixels, the legend included."""
        return HEIGHT + LEGEND_PX * len(self.series) + 4

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the axes."""
        return LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        """Place of a value on the horizontal axis."""
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    def y(self, value: float) -> float:
        """Place of a value on the vertical axis."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        share = (value - low) / (high - low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    def line(self, points: Points) -> str:
        """Path of a line; it begins anew after a point that is not finite."""
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
        """Height and marker of a line in the legend."""
        y = HEIGHT + LEGEND_PX * number + 9
        return y, self._shape(number).format(x=LEFT + 14, y=y)

    def _shape(self, number: int) -> str:
        """Path of one marker of a line."""
        shapes = DOTS if self.scattered else MARKERS
        return shapes[number % len(shapes)]


def ticks(values: Sequence[float], *, whole: bool = False) -> list[float]:
    """Round numbers around values, for an axis.

    Parameters
    ----------
    values
        Those that are not finite do not count.
    whole
        Whole numbers only.

    Returns
    -------
    At least two, ascending.
    """
    from matplotlib.ticker import MaxNLocator

    finite = [value for value in values if np.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - 1, high + 1
    found = MaxNLocator(nbins=5, integer=whole).tick_values(low, high)
    return [float(value) for value in found]
