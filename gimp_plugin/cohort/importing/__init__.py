"""Import of published expression tables as a cohort: one module per source and per rule."""

from __future__ import annotations
