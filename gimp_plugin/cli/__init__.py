"""The command line. Command modules import click and `cli.options`; the rest when they run."""

from __future__ import annotations
