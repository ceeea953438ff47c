"""The systems that GiMP is compared with, each written from its own paper."""

from __future__ import annotations
