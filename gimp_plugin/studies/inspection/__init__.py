"""Describe a file or folder: a bag, bags, a cohort, a run or predictions."""

from __future__ import annotations

from gimp_plugin.studies.inspection.describe import Description, describe

__all__ = ["Description", "describe"]
