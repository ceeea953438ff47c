"""HDF5 files: open those of unknown origin safely, and write our own safely on any disk."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gimp_plugin.errors import (
    BagError,
    LockedError,
    MissingFileError,
    ResourceError,
    SafetyError,
)
from gimp_plugin.storage.atomic import whole_file

MAX_EXPANSION = 1100
"""Deflate, the densest filter in use, expands a byte to at most about 1,032."""


LOCK_WAIT_S = 30.0
LOCK_POLL_S = 1.0
logger = logging.getLogger(__name__)


class DamagedBagError(BagError):
    """A feature file is damaged or unfinished, and can be made again."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; the error for any other file says what it is.

    Yields
    ------
    The open file.

    Raises
    ------
    MissingFileError
        If there is nothing at `path`.
    LockedError
        If another process has it open for writing, and still does after 30 s.
    BagError
        If it is not a regular file, empty, truncated or not HDF5.
    """
    check_regular(path)
    try:
        file = _unlocked(path)
    except BlockingIOError as error:
        raise LockedError(
            f"{str(path)!r} is still open for writing in another process after {LOCK_WAIT_S:g} s",
            hint="wait for it to end",
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def own_dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return a dataset that stores its numbers in this file, or None if there is none.

    Shape and type are checked, but no values are read.

    Returns
    -------
    The dataset, open as long as its file is.

    Raises
    ------
    SafetyError
        If it is a link, its bytes are in other files, or it claims far more than it holds.
    BagError
        If it is not a dataset of numbers, or rows of it were never written.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise _unsafe(file, name, f"is a {type(link).__name__} to another place")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise BagError(
            f"{file.filename!r} has a group {name!r} where a dataset is expected",
            hint="give a feature file",
        )
    _check_storage(file, dataset, name)
    return dataset


def plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Convert attributes to Python values: text, numbers and lists; others are left out."""
    values = {name: _plain(value) for name, value in attributes.items()}
    return {name: value for name, value in values.items() if value is not None}


def _unlocked(path: Path) -> h5py.File:
    """Open a file, waiting while it is being written."""
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return h5py.File(path, "r")
        except BlockingIOError:
            left = end - time.monotonic()
            if left <= 0:
                raise
            logger.info("%s is open for writing in another process: waiting", path)
            time.sleep(min(LOCK_POLL_S, left))


@contextmanager
def composed(path: Path) -> Iterator[h5py.File]:
    """Yield a small HDF5 file that is built in memory and then written atomically.

    A full disk is then an ordinary error, whereas HDF5 itself may crash the process.

    Parameters
    ----------
    path
        Path of the file.

    Yields
    ------
    The file, to be filled; equal content gives equal bytes.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False, track_order=False) as file:
        yield file
        file.flush()
        content = file.id.get_file_image()
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def reserve(file: h5py.File, needed: int, *, path: Path) -> None:
    """Reserve disk space, so that a full disk is an error here and not a crash later.

    Parameters
    ----------
    file
        An HDF5 file open for writing; unused space is released by truncating the closed file to
        its size.
    needed
        Number of bytes.
    path
        Final path of the file, for the message.

    Raises
    ------
    ResourceError
        If there is not enough space.
    """
    try:
        os.posix_fallocate(file.id.get_vfd_handle(), 0, needed)
    except OSError as error:
        left = shutil.disk_usage(path.parent).free
        problem = (
            f"no room for {str(path)!r}: it needs about {needed / 1e6:.1f} MB, "
            f"{left / 1e6:.1f} MB are left ({error.strerror})"
        )
        raise ResourceError(problem, hint="free space, or choose another --output") from error


def check_regular(path: Path) -> None:
    """Refuse anything but a non-empty regular file before it is opened (a FIFO would hang).

    Raises
    ------
    MissingFileError
        If there is nothing at `path`.
    BagError
        If it is not a regular file, or empty, or cannot be reached.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise MissingFileError(f"no file {str(path)!r}") from error
    except OSError as error:  # a link to itself, for instance
        problem = f"{str(path)!r} cannot be reached: {error.strerror}"
        raise BagError(problem, hint="check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise BagError(f"{str(path)!r} is not a regular file")
    if status.st_size == 0:
        raise DamagedBagError(f"{str(path)!r} is an empty file", hint="make it again")


def _check_storage(file: h5py.File, dataset: h5py.Dataset, name: str) -> None:
    """Refuse bytes of other files, objects, and claims of more than the file holds."""
    if dataset.is_virtual or dataset.external:
        raise _unsafe(file, name, "is stored in other files")
    if dataset.dtype.kind not in "fiu":
        if dataset.dtype.hasobject:
            raise _unsafe(file, name, "holds objects, not numbers")
        raise BagError(
            f"{file.filename!r}: {name!r} is of type {dataset.dtype}, expected numbers",
            hint="give a feature file",
        )
    stored = int(dataset.id.get_storage_size())
    claimed = int(dataset.size or 0) * dataset.dtype.itemsize
    if claimed > max(stored, 1024) * MAX_EXPANSION:
        raise _unsafe(file, name, f"claims {claimed} bytes but stores {stored}")
    if stored < claimed and not _is_compressed(dataset):
        raise DamagedBagError(
            f"{file.filename!r}: {name!r} stores {stored} of {claimed} bytes",
            hint="its writer was interrupted; make it again",
        )


def _is_compressed(dataset: h5py.Dataset) -> bool:
    """Whether a filter may reduce a dataset's bytes; unknown filters count as doing so."""
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    return not filters <= {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def _plain(value: Any) -> Any:
    """Convert one attribute to a Python value, or None if it has no plain form."""
    if isinstance(value, bytes | np.bytes_):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubSUO":
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, np.generic) and value.dtype.kind in "fiub":
        return value.item()
    return value if isinstance(value, str | int | float | bool) else None


def _unreadable(path: Path, error: OSError) -> BagError:
    """Error for an existing file that HDF5 could not open."""
    text = str(error)
    if isinstance(error, PermissionError):
        return BagError(f"no permission to read {str(path)!r}", hint="check its permissions")
    if "truncated" in text:
        problem = f"{str(path)!r} is truncated (it has {path.stat().st_size} bytes)"
        return DamagedBagError(problem, hint="make or copy it again")
    if "signature not found" in text:
        return BagError(f"{str(path)!r} is not an HDF5 file", hint="give a feature file")
    return BagError(f"{str(path)!r} cannot be read as HDF5: {text}", hint="make or copy it again")


def _unsafe(file: h5py.File, name: str, what: str) -> SafetyError:
    """Error for a dataset that must not be read."""
    problem = f"{file.filename!r}: {name!r} {what}; it was not read"
    return SafetyError(problem, hint="ask its author for a plain file")
