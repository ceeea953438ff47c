"""The report: one page of HTML on how good a run is, on which data, and why."""

from __future__ import annotations

from gimp_plugin.studies.report.gathering import Asked
from gimp_plugin.studies.report.write import Report, report

__all__ = ["Asked", "Report", "report"]
