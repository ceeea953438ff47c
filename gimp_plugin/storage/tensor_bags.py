"""Bags that are one bare tensor, as in CLAM's `pt_files`: features without coords.

Such a file is a zip with a pickle. It is checked before it is loaded: a pickle that names anything
but the parts of a tensor is refused, as is a tensor that claims more than the file holds. Rows are
mapped from the disk, not loaded.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import BagError, SafetyError
from gimp_plugin.storage.hdf5 import DamagedBagError, check_regular

if TYPE_CHECKING:
    import torch

SUFFIX = ".pt"
_TENSOR_PART = re.compile(
    r"torch\._utils _rebuild_tensor_v2|torch \w+Storage|collections OrderedDict"
)
_HINT = "give a bare tensor saved by torch.save, shape (patches, dim)"
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


def read_tensor(path: Path) -> torch.Tensor:
    """Map the features of a bag from a tensor file.

    Parameters
    ----------
    path
        A single tensor written by `torch.save`.

    Returns
    -------
    The tensor, on the CPU, its values still on the disk.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SafetyError
        If it carries code, or claims more than it holds.
    BagError
        If it is damaged, or not a tensor of numbers.
    """
    check_regular(path)
    _check_archive(path)
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # noqa: TID251  # checked
    except _DAMAGE as error:
        raise DamagedBagError(f"{str(path)!r} is damaged", hint="make it again") from error
    if not isinstance(content, torch.Tensor):
        problem = f"{str(path)!r} holds {type(content).__name__}, expected one tensor"
        raise BagError(problem, hint=_HINT)
    if content.is_complex() or content.dtype == torch.bool:
        raise BagError(f"{str(path)!r} holds {content.dtype}, expected numbers", hint=_HINT)
    claimed = content.numel() * content.element_size()
    if claimed > path.stat().st_size:
        problem = f"{str(path)!r} claims {claimed} bytes but holds {path.stat().st_size}"
        raise SafetyError(f"{problem}; it was not read", hint="ask its author for a plain file")
    return content.detach()  # a tensor that asks for its gradient gives no array


def rows_of(path: Path, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows `start` to `stop`: float16 and float32 as they are, other numbers as float32."""
    import torch

    tensor = read_tensor(path)[start:stop]
    if tensor.dtype not in {torch.float16, torch.float32}:
        tensor = tensor.float()
    return np.array(tensor.numpy())


def _check_archive(path: Path) -> None:
    """Refuse anything but an archive of a tensor, before anything is loaded."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            _check_names(path, _names(file))
        problem = f"{str(path)!r} is damaged, or is not a file with one tensor"
        raise DamagedBagError(problem, hint=_HINT)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
            if len(pickles) != 1 or any(entry.compress_type for entry in entries):
                raise BagError(f"{str(path)!r} is not a file with one tensor", hint=_HINT)
            found = _names(BytesIO(archive.read(pickles[0])))
    except (zipfile.BadZipFile, OSError) as error:
        raise DamagedBagError(f"{str(path)!r} is damaged", hint="make it again") from error
    _check_names(path, found)


def _check_names(path: Path, found: list[str]) -> None:
    """Refuse a pickle that names more than the parts of a tensor."""
    strange = [name for name in found if not _TENSOR_PART.fullmatch(name)]
    if strange:
        problem = f"{str(path)!r} is a pickle that names {strange[0]!r}; it was not run"
        raise SafetyError(problem, hint="ask its author for a bare tensor or HDF5")


def _names(file: BinaryIO) -> list[str]:
    """Names in the pickles of a stream, as `module name`; `?` for one taken from the stack."""
    named = []
    try:
        while True:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name in {"GLOBAL", "INST"}:
                    named.append(str(argument))
                elif operation.name in {"STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}:
                    named.append("?")
    except (ValueError, UnicodeDecodeError, OverflowError):  # the end, or not a pickle
        return named
