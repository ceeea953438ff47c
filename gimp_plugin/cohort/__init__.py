"""Expression cohorts: reading and checking them, scaling genes, pairing with slides, splitting."""

from __future__ import annotations
