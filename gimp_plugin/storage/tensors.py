"""Read tensors from files of others without running any code in them."""

from __future__ import annotations

import pickletools
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, BinaryIO

from gimp_plugin.errors import CheckpointError, MissingFileError, SafetyError
from gimp_plugin.storage.atomic import sha256_file

if TYPE_CHECKING:
    import torch

CODE = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "REDUCE", "BUILD"})
"""Pickle operations that name or call something."""


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors from a PyTorch or safetensors file.

    Parameters
    ----------
    path
        A `.safetensors` file, or one written by `torch.save`.

    Returns
    -------
    Tensors by name, on the CPU.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SafetyError
        If the file holds more than tensors: loading it could run code.
    CheckpointError
        If it is damaged, or holds anything other than named tensors.
    """
    import torch

    if not path.is_file():
        raise MissingFileError(f"no weights file {str(path)!r}", hint="check the path")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise CheckpointError(
            f"{str(path)!r} holds {type(content).__name__}, expected tensors by name",
            hint="give a state dict",
        )
    return content


def _read_torch(path: Path) -> object:
    """Load a file written by `torch.save`, tensors only."""
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  # checked
    except UnpicklingError as error:
        if _carries_code(path):
            problem = f"{str(path)!r} is a pickle that carries code; it was not run"
            raise SafetyError(
                problem, hint="ask its author for a state dict or safetensors"
            ) from error
        raise _damaged(path) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _damaged(path) from error


def _read_safetensors(path: Path) -> object:
    """Load a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path) from error


def _carries_code(path: Path) -> bool:
    """Whether the pickles of a file name or call something, found without loading them."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return _calls(file)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".pkl")]
        for name in names:
            with archive.open(name) as file:
                if _calls(file):  # type: ignore[arg-type]  # a readable file, as BinaryIO is
                    return True
    return False


def _calls(file: BinaryIO) -> bool:
    """Whether a complete pickle in a stream names or calls something."""
    try:
        while True:
            names = {operation.name for operation, _, _ in pickletools.genops(file)}
            if names & CODE:
                return True
    except (ValueError, UnicodeDecodeError, OverflowError):
        return False


def _damaged(path: Path) -> CheckpointError:
    """Error for a damaged file."""
    size, digest = path.stat().st_size, sha256_file(path)
    problem = f"{str(path)!r} is damaged or holds no weights ({size} bytes, sha256 {digest})"
    return CheckpointError(problem, hint="download it again")
