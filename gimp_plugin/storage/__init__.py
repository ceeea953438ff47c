"""Files: written completely or not at all, and checked when read."""

from __future__ import annotations
