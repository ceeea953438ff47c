"""A demonstration on a small generated cohort, in minutes and without a network."""

from __future__ import annotations

from gimp_plugin.studies.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
