"""Prediction: probabilities and embeddings of cases by a trained run."""

from __future__ import annotations

from gimp_plugin.prediction.embedding import embed
from gimp_plugin.prediction.new_slides import extract_for
from gimp_plugin.prediction.predict import PredictionResult, predict

__all__ = ["PredictionResult", "embed", "extract_for", "predict"]
