"""From slides to bags: finding, reading, tissue, patch encoders and extraction."""

from __future__ import annotations
