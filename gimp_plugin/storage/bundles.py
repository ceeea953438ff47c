"""The model bundle on disk: the model of a run for others, laid out for the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import StaleOutputError, listed
from gimp_plugin.storage.atomic import clean_partials, json_text, sha256_file, whole_file
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.runs import BUNDLED, CONFIG, PROVENANCE


def sealed(files: Mapping[str, bytes], facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Add what `read_run` checks the files of a bundle against.

    Parameters
    ----------
    files
        Content by name.
    facts
        What else `provenance.json` says.

    Returns
    -------
    The files and `provenance.json`.
    """
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in BUNDLED}
    seal = json_text({**facts, "files": hashes, "complete": True})
    return {**files, PROVENANCE: seal.encode()}


def write_bundle(path: Path, files: Mapping[str, bytes], *, overwrite: bool) -> bool:
    """Write the files of a bundle, the one that makes it complete last.

    Parameters
    ----------
    path
        The folder; it is made when it is missing.
    files
        Content by name, `config.json` and `provenance.json` among them.
    overwrite
        Replace another bundle. Files of other names stay.

    Returns
    -------
    True when it was written, False when it was there, byte for byte.

    Raises
    ------
    StaleOutputError
        If the folder holds another bundle, or files that are not a bundle's.
    LockedError
        If another process writes there.
    """
    path.mkdir(parents=True, exist_ok=True)
    place = path.resolve()
    with held(place.with_name(f".{place.name}.lock")):  # beside it: all in it may be published
        changed = [name for name in files if not _holds(path / name, files[name])]
        _check_ours(path, changed, overwrite=overwrite)
        if not changed:
            return False
        clean_partials(path)
        (path / PROVENANCE).unlink(missing_ok=True)
        for name in sorted(files, key=lambda one: (one == PROVENANCE, one != CONFIG, one)):
            with whole_file(path / name) as temporary:
                temporary.write_bytes(files[name])
    return True


def _check_ours(path: Path, changed: list[str], *, overwrite: bool) -> None:
    """Refuse a folder of others, and a finished bundle that is not the one to write."""
    others = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if not others:
        return
    if not _is_bundle(path / CONFIG):
        problem = f"{str(path)!r} holds files that are not a model bundle's: {listed(others)}"
        raise StaleOutputError(problem, hint="choose another --output")
    if changed and (path / PROVENANCE).exists() and not overwrite:
        problem = f"{str(path)!r} holds another model bundle; these files differ: {listed(changed)}"
        raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")


def _is_bundle(config: Path) -> bool:
    """Whether a file is the configuration of a bundle."""
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and stored.get(keys.FORMAT) == keys.BUNDLE_FORMAT


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file is there and holds this."""
    return path.is_file() and sha256_file(path) == hashlib.sha256(content).hexdigest()
