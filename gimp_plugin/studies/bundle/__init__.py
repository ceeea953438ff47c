"""The model of a run as a folder that can be shared."""

from __future__ import annotations

from gimp_plugin.studies.bundle.export import ExportResult, export

__all__ = ["ExportResult", "export"]
