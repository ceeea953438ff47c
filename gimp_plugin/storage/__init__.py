"""Files: written whole or not at all, read with suspicion."""

from __future__ import annotations
