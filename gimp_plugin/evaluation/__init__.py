"""Evaluation: how good predictions are, by patient, with intervals and paired tests."""

from __future__ import annotations

from gimp_plugin.evaluation.evaluate import evaluate
from gimp_plugin.evaluation.result import Estimate, Evaluation, ReliabilityBin, SystemScores

__all__ = ["Estimate", "Evaluation", "ReliabilityBin", "SystemScores", "evaluate"]
