"""The folder that an engine saves to, in which the user's own files are never removed."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import ConfigError, LockedError, ResourceError, StaleOutputError, listed
from gimp_plugin.storage.atomic import sha256_file, sha256_json, write_json
from gimp_plugin.storage.locks import held_by_all
from gimp_plugin.toolbox.overlays import STORE
from gimp_plugin.toolbox.stores import print_of_store

STAGE = ".gimp-predictor"
MANIFEST = "gimp_predictor.json"
FORMAT = "gimp.predictor"
FORMAT_VERSION = 1


@contextmanager
def moved_in(save_dir: Path, names: Sequence[str], *, overwrite: bool) -> Iterator[Path]:
    """Give a path for a new folder, whose content moves into `save_dir` at the end.

    TIAToolbox's engines need a folder that does not exist; told to overwrite, they empty an
    existing one. Here the user's files stay: only outputs of an earlier run are replaced, and only
    if they have not been changed since.

    Parameters
    ----------
    save_dir
        Folder for the outputs; it may exist.
    names
        Outputs that may be made.
    overwrite
        Whether to replace outputs of an earlier run.

    Yields
    ------
    A path at which nothing exists.

    Raises
    ------
    ConfigError
        If `save_dir` is a file.
    ResourceError
        If nothing can be written there.
    LockedError
        If another engine is saving there.
    StaleOutputError
        If an output exists and is not ours, was changed, or is not to be overwritten.
    """
    _check_free(save_dir, names, overwrite=overwrite)
    with _new_folder(save_dir) as folder:
        made = folder / "out"
        yield made
        files = sorted(path.name for path in made.iterdir())
        ours = _check_free(save_dir, files, overwrite=overwrite)  # again: hours may have passed
        prints = {name: _print_of(made / name) for name in files}
        # Both old and new prints count as ours until all files are in place, in case of a kill.
        both = {name: [*ours.get(name, ()), prints[name]] for name in files}
        write_json(save_dir / MANIFEST, _manifest({**ours, **both}))
        for name in files:
            _remove(save_dir / name)
            (made / name).replace(save_dir / name)
        own = {name: [one] for name, one in prints.items()}
        write_json(save_dir / MANIFEST, _manifest({**ours, **own}))


def _print_of(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names; empty for a link."""
    if path.is_symlink():
        return ""
    if path.suffix == STORE:
        return print_of_store(path)
    if path.is_file():
        return sha256_file(path)
    files = sorted(one for one in path.rglob("*") if one.is_file())
    return sha256_json([[one.relative_to(path).as_posix(), sha256_file(one)] for one in files])


def _check_free(save_dir: Path, names: Sequence[str], *, overwrite: bool) -> dict[str, list[str]]:
    """Refuse existing outputs that may not be replaced; return the list of earlier outputs."""
    ours = _listed(save_dir)
    there = [name for name in names if os.path.lexists(save_dir / name)]
    strange = [name for name in there if name not in ours]
    if strange:
        problem = f"{str(save_dir)!r} holds {listed(strange)}, which gimp did not write"
        raise StaleOutputError(problem, hint="choose another save_dir")
    if there and not overwrite:
        problem = f"{str(save_dir)!r} holds outputs of an earlier run: {listed(there)}"
        raise StaleOutputError(problem, hint="choose another save_dir, or give overwrite=True")
    changed = [name for name in there if _print_of(save_dir / name) not in ours[name]]
    if changed:
        problem = f"{str(save_dir)!r} holds {listed(changed)}, changed since gimp wrote it"
        raise StaleOutputError(problem, hint="choose another save_dir, or move it away")
    return ours


@contextmanager
def _new_folder(save_dir: Path) -> Iterator[Path]:
    """Give an empty folder within `save_dir`, which is made if it is missing."""
    if save_dir.exists() and not save_dir.is_dir():
        raise ConfigError(f"save_dir {str(save_dir)!r} is a file, expected a folder")
    with ExitStack() as stack:
        try:
            save_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held_by_all(save_dir / f"{STAGE}.lock", str(uuid.uuid4())))
            shutil.rmtree(save_dir / STAGE, ignore_errors=True)  # left by a killed engine
            (save_dir / STAGE).mkdir()
        except OSError as error:
            if isinstance(error, LockedError):
                raise
            problem = f"cannot write in save_dir {str(save_dir)!r}: {error.strerror}"
            raise ResourceError(problem, hint="choose another save_dir") from error
        stack.callback(shutil.rmtree, save_dir / STAGE, ignore_errors=True)
        yield save_dir / STAGE


def at_home(made: Any, save_dir: Path) -> Any:
    """Final path of one output, or of several by name."""
    if isinstance(made, dict):
        return {name: save_dir / path.name for name, path in made.items()}
    return save_dir / made.name


def _manifest(files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Content of the list of outputs."""
    return {keys.FORMAT: FORMAT, keys.FORMAT_VERSION: FORMAT_VERSION, "files": dict(files)}


def _listed(save_dir: Path) -> dict[str, list[str]]:
    """Outputs of earlier runs with their hashes, from the list that these runs left."""
    path = save_dir / MANIFEST
    if not os.path.lexists(path):
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get(keys.FORMAT) == FORMAT:
            return {name: list(map(str, prints)) for name, prints in found["files"].items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        pass
    problem = f"{str(path)!r} already exists and is not a list of outputs written by gimp"
    raise StaleOutputError(problem, hint="choose another save_dir")


def _remove(path: Path) -> None:
    """Remove our file, link or folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
