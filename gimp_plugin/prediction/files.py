"""What a prediction reads that the run names, and whether what it wrote is current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gimp_plugin.config import CohortSource
from gimp_plugin.errors import StaleOutputError
from gimp_plugin.storage.runs import RunRecord


def inherited(record: RunRecord, given: CohortSource) -> dict[str, Any]:
    """What the run says of the inputs, as far as it holds for these cases and features."""
    own: dict[str, None] = {"adata": None, "labels": None}
    if given.features is not None:
        own |= {"slide_table": None}
    return record.source | own


def sidecar(output: Path) -> Path:
    """File that says what a table of predictions was made from."""
    return output.with_name(f"{output.name}.json")


def is_stale(output: Path, made_from: dict[str, Any], *, overwrite: bool) -> bool:
    """Whether there is work to do; a table made from other inputs is refused."""
    if not output.exists():
        return True
    try:
        noted = json.loads(sidecar(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = None
    if noted == made_from:
        return False
    if overwrite:
        return True
    problem = f"{str(output)!r} was made from another run or other cases"
    raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")
