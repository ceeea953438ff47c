"""Write a bag: streamed to disk, completely or not at all, equal bytes for equal content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError
from gimp_plugin.storage.atomic import whole_file
from gimp_plugin.storage.hdf5 import reserve

CHUNK = 512
"""Rows of a chunk: the unit of writing, whatever the size of the batches."""


def bytes_of_bag(n_patches: int, dim: int) -> int:
    """Return the largest size of a bag on disk: whole chunks, their index and attributes."""
    n_chunks = -(-n_patches // CHUNK)
    return n_chunks * (CHUNK * (2 * dim + 8) + 128) + 2**16


class BagWriter:
    """Write one bag batch by batch; the file gets its final name only when complete.

    Rows are held back until a chunk is full, so neither memory nor the bytes of the file depend on
    the size of the batches. Disk space is reserved before the first row is written, because HDF5
    can crash on a full disk.

    Parameters
    ----------
    path
        Path of the bag.
    dim
        Number of features per patch.
    attributes
        Attributes of the file.
    coords_attributes
        Attributes of `coords`, for readers of other tools.
    n_patches
        Expected number of rows, if known, for which disk space is reserved.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "slide.h5"
    >>> with BagWriter(path, dim=3, attributes={"encoder": "mine"}) as bag:
    ...     bag.append(np.zeros((2, 3)), np.array([[0, 0], [256, 0]]))
    >>> path.exists()
    True
    """

    def __init__(
        self,
        path: Path,
        *,
        dim: int,
        attributes: Mapping[str, Any],
        coords_attributes: Mapping[str, Any] | None = None,
        n_patches: int = 0,
    ) -> None:
        self.path = path
        self.dim = dim
        self.n_patches = 0
        self._attributes = dict(attributes)
        self._coords_attributes = dict(coords_attributes or {})
        self._expected = n_patches
        self._held: list[tuple[NDArray[np.float16], NDArray[np.int32]]] = []
        self._n_held = 0
        self._hashes = (hashlib.sha256(), hashlib.sha256())
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open a temporary file beside the final name, and reserve its disk space."""
        with ExitStack() as stack:
            self._temporary = stack.enter_context(whole_file(self.path))
            self._file = stack.enter_context(h5py.File(self._temporary, "w"))
            reserve(self._file, bytes_of_bag(self._expected, self.dim), path=self.path)
            self._create()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish and rename the file, or remove it after an error."""
        with self._stack:
            if error is not None:
                raise error
            self._finish()

    @property
    def n_appended(self) -> int:
        """Number of patches added so far."""
        return self.n_patches + self._n_held

    def append(self, features: NDArray[Any], coords: NDArray[Any]) -> None:
        """Add patches.

        Parameters
        ----------
        features
            Shape (patch, dim), finite in float16.
        coords
            Shape (patch, 2), level-0 pixels.

        Raises
        ------
        BagError
            If a value is not finite in float16; the message has the patch's coordinates.
        """
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(features, dtype="<f2")
        corners = np.ascontiguousarray(coords, dtype="<i4")
        finite = np.isfinite(narrow).all(axis=1)
        if not finite.all():
            x, y = corners[int(np.argmin(finite))].tolist()
            raise BagError(
                f"the features of the patch at ({x}, {y}) do not fit into a float16, or are NaN",
                hint="check the encoder, or use --precision fp32",
            )
        self._held.append((narrow, corners))
        self._n_held += len(narrow)
        if self._n_held >= CHUNK:
            self._flush(whole_chunks_only=True)

    def describe(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes that are known only after the patches.

        Parameters
        ----------
        attributes
            Attributes of the file.
        """
        for name, value in attributes.items():
            self._file.attrs[name] = value

    def _create(self) -> None:
        """Create the file's attributes, then empty datasets that grow by whole chunks."""
        self.describe(self._attributes)
        layout: dict[str, Any] = {"fletcher32": True, "track_times": False}
        self._features = self._file.create_dataset(
            keys.FEATURES, (0, self.dim), "<f2", chunks=(CHUNK, self.dim),
            maxshape=(None, self.dim), **layout,
        )  # fmt: skip
        self._coords = self._file.create_dataset(
            keys.COORDS, (0, 2), "<i4", chunks=(CHUNK, 2), maxshape=(None, 2), **layout
        )
        for name, value in self._coords_attributes.items():
            self._coords.attrs[name] = value

    def _flush(self, *, whole_chunks_only: bool) -> None:
        """Write held rows; keep back those that do not fill a chunk, unless it is the last."""
        features = np.concatenate([rows for rows, _ in self._held])
        coords = np.concatenate([corners for _, corners in self._held])
        n_ready = len(features) // CHUNK * CHUNK if whole_chunks_only else len(features)
        stop = self.n_patches + n_ready
        for dataset, rows, digest in zip(
            (self._features, self._coords), (features, coords), self._hashes, strict=True
        ):
            dataset.resize(stop, axis=0)
            dataset[self.n_patches : stop] = rows[:n_ready]
            digest.update(rows[:n_ready].tobytes())
        self.n_patches = stop
        self._held = [(features[n_ready:], coords[n_ready:])]
        self._n_held = len(features) - n_ready

    def _finish(self) -> None:
        """Write remaining rows, hashes and finally `complete`, and release unused space."""
        if self._n_held:
            self._flush(whole_chunks_only=False)
        if self.n_patches == 0:
            raise BagError(f"no patches for {str(self.path)!r}", hint="leave this slide out")
        features, coords = (digest.hexdigest() for digest in self._hashes)
        self._file.attrs[keys.FEATURES_SHA256] = features
        self._file.attrs[keys.COORDS_SHA256] = coords
        self._file.attrs[keys.FORMAT] = keys.BAG_FORMAT
        self._file.attrs[keys.FORMAT_VERSION] = keys.BAG_FORMAT_VERSION
        self._file.flush()
        self._file.attrs[keys.COMPLETE] = True
        self._file.flush()
        size = self._file.id.get_filesize()
        self._file.close()
        os.truncate(self._temporary, size)
