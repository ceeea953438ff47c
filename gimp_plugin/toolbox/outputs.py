"""The folder that an engine saves to: nothing of the user's is ever removed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import StaleOutputError, listed
from gimp_plugin.storage.atomic import write_json

MANIFEST = "gimp_predictor.json"
FORMAT = "gimp.predictor"
FORMAT_VERSION = 1


@contextmanager
def moved_in(save_dir: Path, names: Sequence[str], *, overwrite: bool) -> Iterator[Path]:
    """Give a path for a new folder, whose content moves into `save_dir` at the end.

    TIAToolbox's engines want a folder that does not exist, and empty one that does when they are
    told to overwrite. Here the user's files stay; only what an earlier run has left by the same
    names, as its list says, is replaced.

    Parameters
    ----------
    save_dir
        Where the outputs go; it may exist.
    names
        Outputs that will be made.
    overwrite
        Replace outputs of an earlier run.

    Yields
    ------
    A path at which nothing exists.

    Raises
    ------
    StaleOutputError
        If an output exists, and is not ours or is not to be overwritten.
    """
    ours = _listed(save_dir)
    there = [name for name in names if os.path.lexists(save_dir / name)]
    strange = [name for name in there if name not in ours]
    if strange:
        problem = f"{str(save_dir)!r} holds {listed(strange)}, which we did not write"
        raise StaleOutputError(problem, hint="choose another save_dir")
    if there and not overwrite:
        problem = f"{str(save_dir)!r} holds outputs of an earlier run: {listed(there)}"
        raise StaleOutputError(problem, hint="choose another save_dir, or give overwrite=True")
    save_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gimp-", dir=save_dir) as folder:
        made = Path(folder) / "out"
        yield made
        files = sorted(path.name for path in made.iterdir())
        write_json(save_dir / MANIFEST, _manifest(sorted({*ours, *files})))
        for name in files:
            _remove(save_dir / name)
            (made / name).replace(save_dir / name)


def at_home(made: Any, save_dir: Path) -> Any:
    """Paths of outputs, one or some by name, where they are in the end."""
    if isinstance(made, dict):
        return {name: save_dir / path.name for name, path in made.items()}
    return save_dir / made.name


def _manifest(files: Sequence[str]) -> dict[str, Any]:
    """What the list of outputs holds."""
    return {keys.FORMAT: FORMAT, keys.FORMAT_VERSION: FORMAT_VERSION, "files": list(files)}


def _listed(save_dir: Path) -> tuple[str, ...]:
    """Outputs of earlier runs, by the list that they left."""
    try:
        found = json.loads((save_dir / MANIFEST).read_text(encoding="utf-8"))
        if found.get(keys.FORMAT) == FORMAT:
            return tuple(map(str, found["files"]))
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        pass
    return ()


def _remove(path: Path) -> None:
    """Remove a file, a link, or a folder of ours."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
