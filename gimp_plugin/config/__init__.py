"""Settings: frozen values, checked once, the same for files, command line and Python."""

from __future__ import annotations

from gimp_plugin.config.explanation import ExplainConfig
from gimp_plugin.config.geometry import GEOMETRIES, geometry_values
from gimp_plugin.config.model import ModelConfig
from gimp_plugin.config.presets import PRESETS, GimpConfig, load_preset
from gimp_plugin.config.sources import CohortSource, ExtractionConfig, ReadingOptions, Runtime
from gimp_plugin.config.stages import FinetuneConfig, GeneStageConfig, PretrainConfig

__all__ = [
    "GEOMETRIES",
    "PRESETS",
    "CohortSource",
    "ExplainConfig",
    "ExtractionConfig",
    "FinetuneConfig",
    "GeneStageConfig",
    "GimpConfig",
    "ModelConfig",
    "PretrainConfig",
    "ReadingOptions",
    "Runtime",
    "geometry_values",
    "load_preset",
]
