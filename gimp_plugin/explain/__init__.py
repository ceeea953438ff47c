"""Why a model says what it says: attention, attributions and their tests, as arrays."""

from __future__ import annotations
