"""Inputs that a prediction inherits from the run, and whether its table is current."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gimp_plugin.cohort.scales import SCALES
from gimp_plugin.config import CohortSource
from gimp_plugin.errors import CheckpointError, StaleOutputError, listed
from gimp_plugin.storage.differences import differences
from gimp_plugin.storage.predictions import (
    MODEL,
    SYSTEM,
    TABLE_SHA256,
    columns,
    note_of,
    sidecar,
    was_edited,
)
from gimp_plugin.storage.runs import PROVENANCE, RunRecord


def inherited(record: RunRecord, given: CohortSource) -> dict[str, Any]:
    """Inputs recorded by the run, without those that do not apply to these cases and features."""
    scale = record.source.get("scale")
    if scale is not None and scale not in SCALES:
        problem = f"{str(record.path / PROVENANCE)!r} is damaged: 'source.scale' is {scale!r}"
        raise CheckpointError(f"{problem}, expected one of {', '.join(SCALES)}")
    own: dict[str, None] = {"adata": None, "labels": None}
    folder, known = given.features, record.source.get("features")
    if folder is not None and (known is None or folder.resolve() != Path(known).resolve()):
        own |= {"slide_table": None}  # the run's table names the slides of the run's own folder
    return record.source | own


def is_stale(output: Path, made_from: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether the table must be written; a file with other inputs, or not ours, is refused."""
    beside, noted = sidecar(output), note_of(output)
    if beside.exists() and MODEL not in noted:
        problem = f"{str(beside)!r} already exists and does not describe a table of predictions"
        raise StaleOutputError(problem, hint="choose another --output")
    if not output.exists():
        return True
    if not _is_table(output):
        problem = f"{str(output)!r} already exists and is not a table of predictions"
        raise StaleOutputError(problem, hint="choose another --output")
    edited = was_edited(output)
    # Tables of older versions do not name their system, which follows from the model.
    inputs = {key: value for key, value in noted.items() if key not in {SYSTEM, TABLE_SHA256}}
    if not edited and inputs == made_from:
        return False
    if overwrite:
        return True
    how = "was changed after it was predicted"
    if not edited:
        changed = listed(differences(inputs, made_from), limit=8)
        how = f"was made from other inputs: {changed}"
    hint = "choose another --output, or use --overwrite"
    raise StaleOutputError(f"{str(output)!r} {how}", hint=hint)


def _is_table(path: Path) -> bool:
    """Whether a file starts like a table of predictions."""
    start = ",".join(columns(())[:3]).encode()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start
