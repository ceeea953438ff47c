"""GiMP for TIAToolbox: cancer classification from a whole slide and a gene-expression profile."""

from __future__ import annotations

__version__ = "0.1.0"
