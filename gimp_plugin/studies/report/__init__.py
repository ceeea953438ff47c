"""The report: one page of HTML that says what a run is worth, on what, and why."""

from __future__ import annotations

from gimp_plugin.studies.report.gathering import Asked
from gimp_plugin.studies.report.write import Report, report

__all__ = ["Asked", "Report", "report"]
