"""The systems that GiMP is compared with, each implemented from its own paper."""

from __future__ import annotations
