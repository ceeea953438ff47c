"""Checks of a cohort for faults that would make results on it wrong."""

from __future__ import annotations

from gimp_plugin.cohort.audit.examine import audit
from gimp_plugin.cohort.audit.findings import FINDING, OK, SKIPPED, Finding
from gimp_plugin.cohort.audit.report import Audit

__all__ = ["FINDING", "OK", "SKIPPED", "Audit", "Finding", "audit"]
