"""A demonstration on a small cohort that is made on the spot, in minutes and without network."""

from __future__ import annotations

from gimp_plugin.studies.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
