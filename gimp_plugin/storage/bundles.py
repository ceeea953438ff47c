"""The model bundle on disk: the model of a run for others, laid out for the Hugging Face hub."""

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
    seal = json_text(with_own_hash({**facts, "files": hashes, "complete": True}))
    return {**files, PROVENANCE: seal.encode()}


def write_bundle(path: Path, files: Mapping[str, bytes], *, overwrite: bool) -> bool:
    """Write the files of a bundle, all or none.

    They are written beside those that they replace, and then take their places. An error, Ctrl-C
    included, leaves what stood there. So does a kill until then; one while they take their places
    leaves a bundle that readers call unfinished, and the next call puts back what stood there.

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
    ResourceError
        If the file system does not let us write there.
    """
    place = path.resolve()
    lock = place.with_name(f".{place.name}.lock")  # beside it: all in it may be published
    with _told(path), held(lock):
        place.mkdir(parents=True, exist_ok=True)  # a link may lead to where nothing is yet
        _put_back(path)
        changed = [name for name in files if not _holds(path / name, files[name])]
        _check_ours(path, files, changed, overwrite=overwrite)
        if changed:
            _replace(path, files)
    return bool(changed)


def _replace(path: Path, files: Mapping[str, bytes]) -> None:
    """Put files in the places of those of their names; the seal goes first and comes last."""
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
    """End what was begun: what has no seal yet gives way to what stood there; the stage goes."""
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
    """Refuse a folder of others, and a finished bundle that is not the one to write."""
    others = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if not others:
        return
    if not _is_bundle(path / CONFIG):
        problem = f"{str(path)!r} holds files that are not a model bundle's: {listed(others)}"
        raise StaleOutputError(problem, hint="choose another --output")
    strange = [name for name in files if (path / name).exists() and not (path / name).is_file()]
    if strange:
        problem = f"{str(path / strange[0])!r} is no file, and a bundle has one of that name"
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
    """Whether a file is there and holds this."""
    return path.is_file() and sha256_file(path) == hashlib.sha256(content).hexdigest()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what the file system refuses as what it is: the place cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.__cause__ if isinstance(error, GimpError) else error
        if not isinstance(reason, OSError):
            raise
        problem = f"cannot write {str(path)!r}: {reason.strerror or reason}"
        raise ResourceError(problem, hint="make room, or choose another --output") from error
