"""From published expression tables to a cohort: one module a source, one a rule."""

from __future__ import annotations
