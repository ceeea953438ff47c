"""Check whether this machine can do the work, and say what to do if it cannot."""

from __future__ import annotations

from gimp_plugin.studies.doctor.finding import FAIL, OK, WARN, Check, Finding
from gimp_plugin.studies.doctor.run import CHECKS, diagnose

__all__ = ["CHECKS", "FAIL", "OK", "WARN", "Check", "Finding", "diagnose"]
