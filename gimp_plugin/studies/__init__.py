"""Studies: whole experiments, built from the other sub-packages."""

from __future__ import annotations
