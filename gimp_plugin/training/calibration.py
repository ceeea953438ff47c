"""Temperature scaling: one number that makes the confidence of a run match its accuracy."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

MIN_CASES = 20
LIMITS = (0.05, 20.0)
NEAR = 1e-3
"""A search that would pass a limit ends closer to it than this, in log temperature."""


def calibration(
    logits: Float[Tensor, "batch class"], labels: Int[Tensor, " batch"]
) -> dict[str, Any]:
    """Fit the temperature T that minimises the smoothed log loss of softmax(logits / T).

    Temperature scaling (arXiv 1706.04599) fits the labels as they are. If all cases are classified
    correctly, its T falls towards 0; if all but one are, that one case decides T. The targets are
    therefore smoothed: with N cases and K classes, the target is (N + 1) / (N + K) for the true
    class and 1 / (N + K) for each other class. This is Laplace's rule of succession, as if one more
    case of each class had been seen. Platt (1999, "Probabilistic outputs for support vector
    machines", section 2.2) uses the number of cases of the class instead of N, which smooths K
    times as much.

    T stays 1, with a warning, if there are fewer than 20 cases, if a logit is not finite, or if the
    best T is at an end of the range .05 to 20.

    Parameters
    ----------
    logits
        Logits of cases that the model was not trained on.
    labels
        Class indices.

    Returns
    -------
    `temperature`; `fitted`, whether it was found; `n_cases`; and `log_loss_before` and `log_loss`,
    the unsmoothed mean log loss of these cases at T = 1 and at T.
    """
    exact, labels, n_cases = logits.double().cpu(), labels.cpu(), len(labels)

    def loss(log_temperature: float, smoothing: float = 0.0) -> float:
        scaled = exact / math.exp(log_temperature)
        return float(functional.cross_entropy(scaled, labels, label_smoothing=smoothing))

    log_temperature, problem = 0.0, ""
    if n_cases < MIN_CASES:
        problem = f"there are only {n_cases} validation cases, fewer than {MIN_CASES}"
    elif not bool(exact.isfinite().all()):
        problem = "the logits of some validation cases are not finite"
    else:
        n_classes = exact.shape[1]
        log_temperature, problem = _least(
            lambda log_t: loss(log_t, n_classes / (n_cases + n_classes))
        )
    if problem:
        logger.warning("probabilities are not calibrated (temperature 1): %s", problem)
    return {
        "temperature": math.exp(log_temperature),
        "fitted": not problem,
        "n_cases": n_cases,
        "log_loss_before": loss(0.0),
        "log_loss": loss(log_temperature),
    }


def _least(loss: Callable[[float], float]) -> tuple[float, str]:
    """Log temperature with the lowest loss; 0 and the reason if it is at an end of the range."""
    low, high = map(math.log, LIMITS)
    found = float(minimize_scalar(loss, bounds=(low, high), method="bounded").x)
    if low + NEAR < found < high - NEAR:
        return found, ""
    end = LIMITS[found > 0]
    return 0.0, f"the best temperature is at the limit of its range, {end:g}"
