"""From names to models: builds a model of registered components, loads the model of a run."""

from __future__ import annotations
