"""From names to models: build a model from registered components, or load the model of a run."""

from __future__ import annotations
