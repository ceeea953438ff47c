"""The folder of an explanation: what it was made from, and which of its files are current."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.config.explanation import MEAN
from gimp_plugin.errors import CheckpointError, MissingFileError, StaleOutputError, listed
from gimp_plugin.storage.atomic import clean_partials, write_json
from gimp_plugin.storage.differences import differences

RECORD = "explanation.json"
FORMAT, VERSION = "gimp.explanation", 1
LOCK = ".lock"


def check_folder(folder: Path, made_from: dict[str, Any], *, overwrite: bool) -> None:
    """Refuse a folder that holds something else; nothing is changed.

    Parameters
    ----------
    folder
        The folder; it may be missing.
    made_from
        Hashes of the inputs, and the settings.
    overwrite
        Replace an explanation of other inputs.

    Raises
    ------
    StaleOutputError
        If it holds an explanation of other inputs, or other files.
    """
    found = read_record(folder)
    if found is not None and found["made_from"] != made_from and not overwrite:
        changed = listed(differences(found["made_from"], made_from), limit=8)
        problem = f"{str(folder)!r} holds an explanation made from other inputs: {changed}"
        raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")
    if found is None and folder.is_dir():
        strange = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if strange:
            problem = f"{str(folder)!r} holds files unrelated to an explanation"
            raise StaleOutputError(f"{problem}: {listed(strange)}", hint="choose another --output")


def claim(folder: Path, made_from: dict[str, Any], files: Sequence[str]) -> bool:
    """Claim a folder for the explanation of these inputs, unless it is finished.

    Files that an explanation of other inputs wrote and that are not written now are removed;
    nothing else is.

    Parameters
    ----------
    folder
        The folder, checked.
    made_from
        Hashes of the inputs, and the settings.
    files
        Every file that may be written, relative to the folder.

    Returns
    -------
    Whether there is work to do.
    """
    found = read_record(folder)
    _clean(folder)
    if found is not None and found["made_from"] == made_from:
        lacking = [name for name in found["written"] if not (folder / name).exists()]
        return not found["complete"] or bool(lacking)
    ours = set() if found is None else set(map(str, found["files"]))
    for name in sorted(ours - set(files)):
        if len(Path(name).parts) <= 2 and ".." not in Path(name).parts:
            (folder / name).unlink(missing_ok=True)
    _write(folder, made_from, files, written=(), complete=False)
    return True


def finish(
    folder: Path, made_from: dict[str, Any], files: Sequence[str], *, complete: bool
) -> None:
    """Record that an explanation is finished, or that parts of it failed.

    Parameters
    ----------
    folder, made_from, files
        As for `claim`.
    complete
        Whether nothing failed.
    """
    written = [name for name in files if (folder / name).exists()]
    _write(folder, made_from, files, written=written, complete=complete)


def _write(
    folder: Path,
    made_from: dict[str, Any],
    files: Sequence[str],
    *,
    written: Sequence[str],
    complete: bool,
) -> None:
    """Write the record."""
    content = {
        keys.FORMAT: FORMAT,
        keys.FORMAT_VERSION: VERSION,
        "made_from": made_from,
        "files": sorted(files),
        "written": sorted(written),
        "complete": complete,
    }
    write_json(folder / RECORD, content)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Content of the record; None if there is no valid one."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if (found[keys.FORMAT], found[keys.FORMAT_VERSION]) != (FORMAT, VERSION):
            return None
        return found if {"made_from", "files", "written", "complete"} <= found.keys() else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def explained_model(folder: Path) -> str:
    """Give the hash of the weights that an explanation is of.

    Parameters
    ----------
    folder
        The explanation.

    Returns
    -------
    The hash.

    Raises
    ------
    MissingFileError
        If there is no explanation.
    CheckpointError
        If it names no model.
    """
    record = read_record(folder)
    if record is None:
        problem = f"{str(folder)!r} holds no explanation"
        raise MissingFileError(problem, hint="make it with gimp explain")
    try:
        return str(record["made_from"]["models"][0][0])
    except (LookupError, TypeError) as error:
        raise CheckpointError(f"{str(folder)!r} is damaged: it names no model") from error


def gene_reference_of(folder: Path) -> str:
    """Give the gene reference of an explanation, one of `GENE_REFERENCES`.

    Parameters
    ----------
    folder
        The explanation.

    Returns
    -------
    The reference; `mean` for older explanations, which had no other.
    """
    record = read_record(folder)
    try:
        return str(record["made_from"]["gene_references"][0][0]) if record else MEAN
    except (LookupError, TypeError):
        return MEAN


def _clean(folder: Path) -> None:
    """Remove partial files of killed processes."""
    for place in (folder, *(folder / name for name in ("cases", "patches", "pictures"))):
        if place.is_dir():
            clean_partials(place)
