"""Differences between an existing output and the requested one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def differences(found: Any, wanted: Any, prefix: str = "") -> list[str]:
    """Say what differs between two nested mappings, as `key: found -> wanted`."""
    if not (isinstance(found, Mapping) and isinstance(wanted, Mapping)):
        return [f"{prefix}: {_short(found)} -> {_short(wanted)}"]
    keys = sorted({*found, *wanted})
    return [
        line
        for key in keys
        if found.get(key) != wanted.get(key)
        for line in differences(found.get(key), wanted.get(key), f"{prefix}.{key}".lstrip("."))
    ]


def _short(value: Any) -> str:
    """A value on one line: words, such as a plugin's name and version, or the start of a hash."""
    text = json.dumps(value)
    limit = 80 if " " in text and isinstance(value, str) else 20
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
