"""Open zarr folders of unknown origin: only arrays of numbers stored in the folder itself.

The metadata are read here, as JSON, before zarr sees them. Accepted are only arrays of plain
numbers, with codecs that run no code, whose chunks exist and hold roughly what they claim. Links
are never followed.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import BagError, MissingFileError, SafetyError
from gimp_plugin.storage.hdf5 import MAX_EXPANSION, DamagedBagError
from gimp_plugin.storage.zarr_codecs import SHARDS, UNKNOWN, packing_codec, unpacked_size

SUFFIX = ".zarr"
MAX_METADATA = 16_000_000
MAX_CHUNK = 2**31
SLACK = 1024
_HINT = "ask its author for a plain folder"
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, LookupError, EOFError, zlib.error)


@dataclass(frozen=True, kw_only=True)
class ZarrArray:
    """An array of a folder, checked but not yet read."""

    root: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    compressor: str

    def check_chunks(self, *, complete: bool = True, expansion: float = MAX_EXPANSION) -> None:
        """Check that the chunks are regular files and hold roughly what they claim.

        Parameters
        ----------
        complete
            Whether all chunks must exist; zarr omits chunks of zeros only.
        expansion
            Largest ratio of the array's bytes to those of its files.

        Raises
        ------
        SafetyError
            If the array claims far more than its files hold.
        BagError
            If chunks are missing.
        """
        files = [path for path in _plain_files(self.root / self.name) if not _is_metadata(path)]
        stored = sum(path.stat().st_size for path in files)
        claimed = math.prod(self.shape) * self.dtype.itemsize
        where = f"{str(self.root)!r}: {self.name!r}"
        if claimed > max(stored, 1024) * expansion:
            problem = f"{where} claims {claimed} bytes but stores {stored}; it was not read"
            raise SafetyError(problem, hint=_HINT)
        for file in files if self.compressor != SHARDS else ():
            self._check_size(file)
        pairs = zip(self.shape, self.chunks, strict=True)
        expected = math.prod(-(-side // chunk) for side, chunk in pairs)
        if complete and len(files) < expected:
            problem = f"{where} has {len(files)} of {expected} chunks"
            raise DamagedBagError(problem, hint="its writer was interrupted; make it again")

    def _check_size(self, file: Path) -> None:
        """Refuse a chunk that would unpack to more than the size of a chunk."""
        size = unpacked_size(file, self.compressor)
        largest = math.prod(self.chunks) * self.dtype.itemsize + SLACK
        if size == UNKNOWN:
            raise DamagedBagError(f"{str(file)!r} is damaged", hint="make or copy it again")
        if size > largest:
            problem = (
                f"{str(file)!r} claims {size} bytes, but a chunk has {largest}; it was not read"
            )
            raise SafetyError(problem, hint=_HINT)

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read rows `start` to `stop`, and only the chunks that hold them.

        Returns
        -------
        The rows.

        Raises
        ------
        BagError
            If a chunk is damaged.
        """
        import zarr

        try:
            array = zarr.open_array(str(self.root / self.name), mode="r")
            return np.asarray(array[start:stop])
        except _DAMAGE as error:
            problem = f"{str(self.root)!r}: {self.name!r} is damaged (a chunk cannot be decoded)"
            raise DamagedBagError(problem, hint="make or copy it again") from error


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Check that there is a folder with zarr's metadata.

    Yields
    ------
    The folder.

    Raises
    ------
    MissingFileError
        If there is nothing at `path`.
    BagError
        If it is not a zarr folder.
    """
    if not path.exists():
        raise MissingFileError(f"no folder {str(path)!r}")
    if not path.is_dir():
        raise BagError(f"{str(path)!r} is not a folder, but a zarr is one", hint="unpack it")
    if node(path, "") is None:
        problem = f"{str(path)!r} has neither zarr.json nor .zgroup, so it is not a zarr folder"
        raise BagError(problem, hint="give a feature file")
    yield path


def node(root: Path, name: str) -> dict[str, Any] | None:
    """Read the metadata of a group or array, of either version of zarr.

    Returns
    -------
    `node_type`, `attributes` and, for an array, zarr's metadata; None if there is no such node.

    Raises
    ------
    SafetyError
        If it is reached through a link.
    BagError
        If the metadata are damaged.
    """
    folder = root
    for part in Path(name).parts:
        folder /= part
        _refuse_link(root, folder)
    for file in ("zarr.json", ".zarray", ".zgroup"):
        path = folder / file
        _refuse_link(root, path)
        if not path.is_file():
            continue
        found = _json(root, path)
        if file != "zarr.json":
            attributes = folder / ".zattrs"
            _refuse_link(root, attributes)
            found["node_type"] = "array" if file == ".zarray" else "group"
            found["attributes"] = _json(root, attributes) if attributes.is_file() else {}
        if not isinstance(found.get("attributes", {}), dict):
            raise _damaged(root, path)
        return {"attributes": {}} | found
    return None


def array_of(root: Path, name: str) -> ZarrArray | None:
    """Return an array of numbers of a folder, without reading values.

    Returns
    -------
    The array, or None if there is none.

    Raises
    ------
    SafetyError
        If it holds objects, or its codecs could run code.
    BagError
        If it is not an array of numbers, or its metadata are damaged.
    """
    found = node(root, name)
    if found is None or found.get("node_type") != "array":
        return None
    try:
        shape = _sizes(found["shape"], smallest=0)
        text = found.get("data_type", found.get("dtype"))
        grid = found.get("chunk_grid")
        chunks = _sizes(grid["configuration"]["chunk_shape"] if grid else found["chunks"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(root, root / name) from error
    dtype = _number_type(root, name, text)
    if len(chunks) != len(shape) or math.prod(chunks) * dtype.itemsize > MAX_CHUNK:
        problem = f"{str(root)!r}: {name!r} has chunks of shape {chunks}; it was not read"
        raise SafetyError(problem, hint=_HINT)
    return ZarrArray(
        root=root,
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        compressor=packing_codec(found, where=f"{str(root)!r}: {name!r}"),
    )


def refused_link(root: Path, path: Path) -> SafetyError:
    """Make the error for a link inside a folder."""
    problem = f"{str(path)!r} is a link inside {str(root)!r}; it was not followed"
    return SafetyError(problem, hint=_HINT)


def _number_type(root: Path, name: str, text: object) -> np.dtype[Any]:
    """Type of an array's values, which must be numbers."""
    if text == "|O":
        problem = f"{str(root)!r}: {name!r} holds objects, not numbers; it was not read"
        raise SafetyError(problem, hint=_HINT)
    try:
        dtype = np.dtype(text) if isinstance(text, str) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "fiu":
        problem = f"{str(root)!r}: {name!r} is of type {text}, expected numbers"
        raise BagError(problem, hint="give a feature file")
    return dtype


def _plain_files(folder: Path) -> Iterator[Path]:
    """Yield all files of a folder; refuse links and special files in it."""
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            _refuse_link(folder, path)
            if name in names:
                if not path.is_file():
                    raise SafetyError(f"{str(path)!r} is not a regular file", hint=_HINT)
                yield path


def _is_metadata(path: Path) -> bool:
    """Whether a file of an array is not one of its chunks."""
    return path.name in {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


def _refuse_link(root: Path, path: Path) -> None:
    """Refuse a link inside a folder."""
    if path.is_symlink():
        raise refused_link(root, path)


def _json(root: Path, path: Path) -> dict[str, Any]:
    """Read a metadata file."""
    if path.stat().st_size > MAX_METADATA:
        raise SafetyError(f"{str(path)!r} has {path.stat().st_size} bytes", hint=_HINT)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(root, path) from error
    if not isinstance(found, dict):
        raise _damaged(root, path)
    return found


def _sizes(values: Any, *, smallest: int = 1) -> tuple[int, ...]:
    """Shape as whole numbers."""
    sizes = tuple(int(value) for value in values)
    if any(size < smallest for size in sizes):
        raise ValueError(sizes)
    return sizes


def _damaged(root: Path, path: Path) -> DamagedBagError:
    """Error for metadata that cannot be understood."""
    problem = f"{str(root)!r} is damaged: {path.relative_to(root).as_posix()!r} cannot be read"
    return DamagedBagError(problem, hint="make or copy it again")
