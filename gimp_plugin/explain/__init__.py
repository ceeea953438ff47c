"""Explain predictions: attention, attributions and their tests, as arrays."""

from __future__ import annotations
