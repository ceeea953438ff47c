"""A fair comparison of GiMP with baselines: the same patients, folds, seeds and statistics."""

from __future__ import annotations

from gimp_plugin.studies.benchmark.protocol import Protocol
from gimp_plugin.studies.benchmark.run import BenchmarkResult, run_benchmark
from gimp_plugin.studies.benchmark.shards import Shard

__all__ = ["BenchmarkResult", "Protocol", "Shard", "run_benchmark"]
