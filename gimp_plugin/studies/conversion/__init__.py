"""Convert bags of one tool to the format of another."""

from __future__ import annotations

from gimp_plugin.studies.conversion.convert import Conversion, Wanted, convert

__all__ = ["Conversion", "Wanted", "convert"]
