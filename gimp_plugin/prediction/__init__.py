"""Prediction: probabilities for every case that a run can be asked about."""

from __future__ import annotations

from gimp_plugin.prediction.new_slides import extract_for
from gimp_plugin.prediction.predict import PredictionResult, predict

__all__ = ["PredictionResult", "extract_for", "predict"]
