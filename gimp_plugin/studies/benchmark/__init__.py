"""A fair comparison of GiMP with baselines: the same patients, folds, seeds and statistics."""

from __future__ import annotations

from gimp_plugin.studies.benchmark.protocol import Protocol
from gimp_plugin.studies.benchmark.run import BenchmarkResult, run_benchmark

__all__ = ["BenchmarkResult", "Protocol", "run_benchmark"]
