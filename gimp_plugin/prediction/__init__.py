"""Prediction: probabilities for every case that a run can be asked about."""

from __future__ import annotations

from gimp_plugin.prediction.predict import PredictionResult, predict

__all__ = ["PredictionResult", "predict"]
