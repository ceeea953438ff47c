"""Writing settings as TOML, which the standard library only reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def to_toml(tables: Mapping[str, Mapping[str, Any]], *, comment: str = "") -> str:
    """Write tables of plain values.

    Parameters
    ----------
    tables
        Values (text, numbers, booleans, lists of them) by table and key.
    comment
        Text for the top of the file, commented out.

    Returns
    -------
    The file's text.

    Examples
    --------
    >>> print(to_toml({"model": {"dim": 64, "head": "mlp"}}, comment="small"), end="")
    # small
    <BLANKLINE>
    [model]
    dim = 64
    head = "mlp"
    """
    blocks = ["".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())]
    for name, table in tables.items():
        lines = [f"{key} = {_value(value)}\n" for key, value in table.items()]
        blocks.append("".join([f"[{name}]\n", *lines]))
    return "\n".join(filter(None, blocks))


def _value(value: Any) -> str:
    """Write a value; text, integers, booleans and lists of them are spelled as in JSON."""
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
