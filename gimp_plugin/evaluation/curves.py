"""ROC and precision-recall curves of one class against the others, with pointwise bands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.evaluation import statistics
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.result import Estimate

Floats = NDArray[np.float64]
Draw = Callable[[Floats | None], tuple[Floats, Floats, float]]
"""Gives x and y of a curve, and its area, under weights of the cases."""
Height = Callable[[Floats, Floats, Floats], Floats]
"""Gives the height of a curve at each x of a grid."""

N_DRAWS = 500
"""Draws of a band: enough for a line that is drawn, not for a number that is cited."""
GRID = np.linspace(0.0, 1.0, 51)
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A curve and its band.

    Parameters
    ----------
    x, y
        Points, x ascending.
    grid, low, high
        95 % interval of y at each x of the grid, by itself.
    area
        Area under the curve: AUC, or average precision.
    """

    x: Floats
    y: Floats
    grid: Floats
    low: Floats
    high: Floats
    area: Estimate


def roc(patients: Patients, place: int, *, seed: int) -> Curve:
    """Sensitivity by 1 - specificity, of all folds together.

    Parameters
    ----------
    patients
        Some are of the class, some are not.
    place
        The class, an index.
    seed
        Of the bootstrap.

    Returns
    -------
    The curve; between two points it is a straight line.
    """
    from sklearn.metrics import roc_curve

    positive, scores = patients.labels == place, patients.probabilities[:, place]

    def draw(weights: Floats | None) -> tuple[Floats, Floats, float]:
        x, y, _ = roc_curve(positive, scores, sample_weight=weights)
        return x, y, float(np.trapezoid(y, x))

    return _with_band(draw, GRID, patients, seed=seed, height=_on_line)


def precision_recall(patients: Patients, place: int, *, seed: int) -> Curve:
    """Precision by recall, of all folds together.

    Parameters
    ----------
    patients
        Some are of the class, some are not.
    place
        The class, an index.
    seed
        Of the bootstrap.

    Returns
    -------
    The curve, a flight of steps: precision at the least recall that is not below x. It has no
    point at recall 0, where no case is called.
    """
    from sklearn.metrics import precision_recall_curve

    positive, scores = patients.labels == place, patients.probabilities[:, place]

    def draw(weights: Floats | None) -> tuple[Floats, Floats, float]:
        precision, recall, _ = precision_recall_curve(positive, scores, sample_weight=weights)
        area = -np.diff(recall) @ precision[:-1]  # average precision
        first = int(np.flatnonzero(recall >= 1 - TINY)[-1])  # of those that call every case
        return recall[first:-1][::-1], precision[first:-1][::-1], float(area)

    return _with_band(draw, GRID[1:], patients, seed=seed, height=_on_step)


def _on_line(x: Floats, y: Floats, grid: Floats) -> Floats:
    """Height of a line at each x of a grid, the upper end where it rises straight up."""
    # Weights add up to 1 but for the last digits: a grid point at a step is on it.
    at = np.searchsorted(x, grid + TINY, side="right") - 1
    after = np.minimum(at + 1, len(x) - 1)
    share = np.clip((grid - x[at]) / np.maximum(x[after] - x[at], TINY), 0.0, 1.0)
    return y[at] + share * (y[after] - y[at])


def _on_step(x: Floats, y: Floats, grid: Floats) -> Floats:
    """Height of a flight of steps at each x of a grid: that of the next point."""
    at = np.searchsorted(x, grid - TINY, side="left")
    return y[np.minimum(at, len(y) - 1)]


def _with_band(draw: Draw, grid: Floats, patients: Patients, *, seed: int, height: Height) -> Curve:
    """Draw patients with replacement, and keep where the curve passes the grid."""
    x, y, area = draw(None)
    heights, areas = [], []
    for weights in statistics.draws(patients, seed=seed, n_draws=N_DRAWS):
        for row in weights:
            own_x, own_y, own_area = draw(row)
            heights.append(height(own_x, own_y, grid))
            areas.append(own_area)
    tails = [(1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2]
    low, high = np.quantile(heights, tails, axis=0)
    ends = np.quantile(areas, tails)
    found = Estimate(area, float(ends[0]), float(ends[1]))
    return Curve(x=x, y=y, grid=grid, low=low, high=high, area=found)
