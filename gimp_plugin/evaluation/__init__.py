"""Evaluation: what predictions are worth, by patient, with intervals and paired tests."""

from __future__ import annotations

from gimp_plugin.evaluation.evaluate import evaluate
from gimp_plugin.evaluation.result import Estimate, Evaluation

__all__ = ["Estimate", "Evaluation", "evaluate"]
