"""Checkpoints of a training under way: tensors in safetensors, the rest JSON, nothing pickled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.storage.atomic import sha256_file, write_json

if TYPE_CHECKING:
    from torch import Tensor

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
        Everything else, as JSON can hold it.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Add a checkpoint; the last two are kept.

    Parameters
    ----------
    folder
        The run's `resume/` folder.
    tensors
        Weights and optimiser state by name, each with memory of its own.
    state
        Everything else, as JSON can hold it.
    """
    from safetensors.torch import save_file  # torch is slow to import

    number = 1 + max((int(path.name) for path in _checkpoints(folder)), default=0)
    temporary = folder / f".{number:08d}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary / TENSORS)
    with (temporary / TENSORS).open("rb") as file:
        os.fsync(file.fileno())
    write_json(temporary / STATE, {**state, "sha256": sha256_file(temporary / TENSORS)})
    temporary.replace(folder / f"{number:08d}")
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Give the newest checkpoint that is whole.

    Parameters
    ----------
    folder
        The run's `resume/` folder; it may be missing.

    Returns
    -------
    The checkpoint, or None when there is none.
    """
    from safetensors.torch import load_file  # torch is slow to import

    for path in reversed(_checkpoints(folder)):
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            if sha256_file(path / TENSORS) == state["sha256"]:
                return Checkpoint(load_file(path / TENSORS), state)
        except (OSError, ValueError, KeyError):
            continue
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit() and path.is_dir())
