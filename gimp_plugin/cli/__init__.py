"""Command line. Command modules import heavy dependencies only when their command runs."""

from __future__ import annotations
