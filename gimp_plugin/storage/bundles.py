"""The model bundle on disk: the model of a run to share, laid out for the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import GimpError, ResourceError, StaleOutputError, listed
from gimp_plugin.storage.atomic import json_text, sha256_file, sync, whole_file
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.run_files import COMES, WENT, with_own_hash
from gimp_plugin.storage.runs import BUNDLED, CARD, CONFIG, PROVENANCE


def sealed(files: Mapping[str, bytes], facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Add the `provenance.json` that `read_run` checks the files of a bundle against.

    Parameters
    ----------
    files
        Content by name.
    facts
        Further content of `provenance.json`.

    Returns
    -------
    The files and `provenance.json`.
    """
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in BUNDLED}
    seal = json_text(with_own_hash({**facts, "files": hashes, "complete": True}))
    return {**files, PROVENANCE: seal.encode()}


def write_bundle(path: Path, files: Mapping[str, bytes], *, overwrite: bool) -> bool:
    """Write the files of a bundle, all or none.

    New files are first written beside the old ones, then moved into their places. An error,
    including Ctrl-C, leaves the old files, as does a kill before the move. A kill during the move
    leaves a bundle that readers refuse as unfinished; the next call restores the old files.

    Parameters
    ----------
    path
        The folder; it is created if it is missing.
    files
        Content by name, including `config.json` and `provenance.json`.
    overwrite
        Replace another bundle. Files of other names are kept.

    Returns
    -------
    True if it was written, False if it was already there, byte for byte.

    Raises
    ------
    StaleOutputError
        If the folder holds another bundle, or files that are not a bundle's.
    LockedError
        If another process is writing to the folder.
    ResourceError
        If the folder is not writable.
    """
    place = path.resolve()
    lock = place.with_name(f".{place.name}.lock")  # not inside: all there may be published
    with _told(path), held(lock):
        place.mkdir(parents=True, exist_ok=True)  # a link's target may not exist yet
        _put_back(path)
        changed = [name for name in files if not _holds(path / name, files[name])]
        _check_ours(path, files, changed, overwrite=overwrite)
        if changed:
            _replace(path, files)
    return bool(changed)


def _replace(path: Path, files: Mapping[str, bytes]) -> None:
    """Replace files by name; the seal is removed first and written last."""
    try:
        for name, content in files.items():
            with whole_file(path / COMES / name) as temporary:
                temporary.write_bytes(content)
        (path / WENT).mkdir()
        for name in (PROVENANCE, *BUNDLED, CARD):
            if (path / name).exists():
                (path / name).replace(path / WENT / name)
        for name in (CONFIG, *(files.keys() - {CONFIG, PROVENANCE}), PROVENANCE):
            (path / COMES / name).replace(path / name)
        sync(path)
    finally:
        _put_back(path)


def _put_back(path: Path) -> None:
    """Undo an unfinished replacement by restoring the old files, and remove the staging folder."""
    comes, went = path / COMES, path / WENT
    if went.is_dir() and not (path / PROVENANCE).exists():
        for name in (*BUNDLED, CARD):
            if (path / name).exists() and not (comes / name).exists():
                (path / name).replace(comes / name)
        for name in (*BUNDLED, CARD, PROVENANCE):
            if (went / name).exists():
                (went / name).replace(path / name)
    shutil.rmtree(comes.parent, ignore_errors=True)


def _check_ours(
    path: Path, files: Mapping[str, bytes], changed: list[str], *, overwrite: bool
) -> None:
    """Refuse a folder that is not a bundle, and a finished bundle that differs."""
    others = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if not others:
        return
    if not _is_bundle(path / CONFIG):
        problem = f"{str(path)!r} holds files that are not a model bundle's: {listed(others)}"
        raise StaleOutputError(problem, hint="choose another --output")
    strange = [name for name in files if (path / name).exists() and not (path / name).is_file()]
    if strange:
        problem = f"{str(path / strange[0])!r} is not a file, but a bundle has a file of that name"
        raise StaleOutputError(problem, hint="move it away, or choose another --output")
    if changed and (path / PROVENANCE).exists() and not overwrite:
        problem = f"{str(path)!r} holds another model bundle; these files differ: {listed(changed)}"
        raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")


def _is_bundle(config: Path) -> bool:
    """Whether a file is the configuration of a bundle."""
    if not config.is_file():
        return False
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and stored.get(keys.FORMAT) == keys.BUNDLE_FORMAT


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file exists and has this content."""
    return path.is_file() and sha256_file(path) == hashlib.sha256(content).hexdigest()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn errors of the file system into one saying that the bundle cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.__cause__ if isinstance(error, GimpError) else error
        if not isinstance(reason, OSError):
            raise
        problem = f"cannot write {str(path)!r}: {reason.strerror or reason}"
        raise ResourceError(problem, hint="free space, or choose another --output") from error
