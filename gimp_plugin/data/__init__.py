"""From bags and a cohort to batches: which cases, which of their patches, and in which order."""

from __future__ import annotations
