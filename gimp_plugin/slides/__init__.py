"""From slides to bags: find and read slides, find tissue, encode patches, write bags."""

from __future__ import annotations
