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
"""Computes x and y of a curve, and its area, from weights of the cases."""
Height = Callable[[Floats, Floats, Floats], Floats]
"""Computes the height of a curve at each x of a grid."""

N_DRAWS = 500
"""Bootstrap draws of a band: enough for a plotted line, not for a number that is cited."""
GRID = np.linspace(0.0, 1.0, 51)
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A curve and its band.

    Parameters
    ----------
    x, y
        Points, with ascending x.
    grid, low, high
        Pointwise 95 % interval of y at each x of the grid.
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
    """Compute sensitivity by 1 - specificity, over all folds together.

    Parameters
    ----------
    patients
        Patients, some of the class and some not.
    place
        Index of the class.
    seed
        Seed of the bootstrap.

    Returns
    -------
    The curve; two points are joined by a straight line.
    """
    from sklearn.metrics import roc_curve

    positive, scores = patients.labels == place, patients.probabilities[:, place]

    def draw(weights: Floats | None) -> tuple[Floats, Floats, float]:
        x, y, _ = roc_curve(positive, scores, sample_weight=weights)
        return x, y, float(np.trapezoid(y, x))

    return _with_band(draw, GRID, patients, seed=seed, height=_on_line)


def precision_recall(patients: Patients, place: int, *, seed: int) -> Curve:
    """Compute precision by recall, over all folds together.

    Parameters
    ----------
    patients
        Patients, some of the class and some not.
    place
        Index of the class.
    seed
        Seed of the bootstrap.

    Returns
    -------
    The curve, a step function: at x, the precision at the lowest recall of x or more. It has no
    point at recall 0, where no case is called positive.
    """
    from sklearn.metrics import precision_recall_curve

    positive, scores = patients.labels == place, patients.probabilities[:, place]

    def draw(weights: Floats | None) -> tuple[Floats, Floats, float]:
        precision, recall, _ = precision_recall_curve(positive, scores, sample_weight=weights)
        area = -np.diff(recall) @ precision[:-1]  # average precision
        first = int(np.flatnonzero(recall >= 1 - TINY)[-1])  # the last with full recall
        return recall[first:-1][::-1], precision[first:-1][::-1], float(area)

    return _with_band(draw, GRID[1:], patients, seed=seed, height=_on_step)


def _on_line(x: Floats, y: Floats, grid: Floats) -> Floats:
    """Height of a line at each x of a grid; the upper end where it is vertical."""
    # Weights add up to 1 only up to rounding, so a grid point close to a step counts as on it.
    at = np.searchsorted(x, grid + TINY, side="right") - 1
    after = np.minimum(at + 1, len(x) - 1)
    share = np.clip((grid - x[at]) / np.maximum(x[after] - x[at], TINY), 0.0, 1.0)
    return y[at] + share * (y[after] - y[at])


def _on_step(x: Floats, y: Floats, grid: Floats) -> Floats:
    """Height of a step function at each x of a grid: that of the next point."""
    at = np.searchsorted(x, grid - TINY, side="left")
    return y[np.minimum(at, len(y) - 1)]


def _with_band(draw: Draw, grid: Floats, patients: Patients, *, seed: int, height: Height) -> Curve:
    """Draw patients with replacement, and take quantiles of the curves on the grid."""
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
