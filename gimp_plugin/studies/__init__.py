"""Studies: whole experiments made of the rooms below."""

from __future__ import annotations
