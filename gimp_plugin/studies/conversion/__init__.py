"""Bags of one tool written as those of another."""

from __future__ import annotations

from gimp_plugin.studies.conversion.convert import Conversion, Wanted, convert

__all__ = ["Conversion", "Wanted", "convert"]
