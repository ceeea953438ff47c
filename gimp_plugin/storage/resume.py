"""Checkpoints of an ongoing training: tensors in safetensors, all else in JSON, no pickle."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.errors import ResourceError
from gimp_plugin.storage.atomic import sha256_file, write_json

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

TENSORS = "state.safetensors"
STATE = "state.json"
KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of a training between two steps.

    Parameters
    ----------
    tensors
        Weights and optimiser state by name.
    state
        All other state, as JSON values.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Add a checkpoint, keeping the last two.

    Parameters
    ----------
    folder
        The run's `resume/` folder.
    tensors
        Weights and optimiser state by name, each with memory of its own.
    state
        All other state, as JSON values.

    Raises
    ------
    ResourceError
        If the disk is full; earlier checkpoints are kept.
    """
    number = 1 + max((int(path.name) for path in _checkpoints(folder)), default=0)
    temporary = folder / f".{number:08d}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write_tensors(temporary / TENSORS, tensors)
        write_json(temporary / STATE, {**state, "sha256": sha256_file(temporary / TENSORS)})
        temporary.replace(folder / f"{number:08d}")
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # frees space on a full disk
        raise
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint.

    Parameters
    ----------
    folder
        The run's `resume/` folder; it may be missing.

    Returns
    -------
    The checkpoint, or None if there is none.
    """
    from safetensors.torch import load_file  # torch is slow to import

    for path in reversed(_checkpoints(folder)):
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            if sha256_file(path / TENSORS) == state["sha256"]:
                return Checkpoint(load_file(path / TENSORS), state)
        except (OSError, ValueError, KeyError):
            pass
        logger.warning("checkpoint %r is damaged: skipping it", str(path))
    return None


def check_writable(folder: Path) -> None:
    """Refuse an existing `resume/` folder that is not writable, before any work.

    Raises
    ------
    ResourceError
        If the folder is not writable.
    """
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        hint = "make it writable, or choose another --output"
        raise ResourceError(f"cannot write in {str(folder)!r}", hint=hint)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and flush them to the disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file  # torch is slow to import

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        hint = "free space; the same command then continues from the previous checkpoint"
        raise ResourceError(f"cannot write {str(path)!r}: {error}", hint=hint) from error
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit() and path.is_dir())
