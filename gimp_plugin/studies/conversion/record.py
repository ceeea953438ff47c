"""Record of what a folder of converted bags was made from: `conversion.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gimp_plugin.errors import StaleOutputError
from gimp_plugin.storage.atomic import write_json

RECORD = "conversion.json"
FORMAT, VERSION = "gimp.conversion", 1


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what each bag of a folder was made from, by its path in the folder.

    Returns
    -------
    The record; empty if the folder has none.

    Raises
    ------
    StaleOutputError
        If the record cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["format_version"]) == (FORMAT, VERSION):
            return {str(name): dict(made) for name, made in content["bags"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    problem = f"{str(path)!r} is not a record of gimp convert-features, version {VERSION}"
    raise StaleOutputError(problem, hint="choose another --output")


def write_record(folder: Path, bags: dict[str, dict[str, Any]]) -> None:
    """Write the record atomically, unless it is unchanged."""
    if bags != read_record(folder):
        content = {"format": FORMAT, "format_version": VERSION, "bags": bags}
        write_json(folder / RECORD, content)
