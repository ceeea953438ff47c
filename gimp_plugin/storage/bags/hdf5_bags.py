"""Functions shared by the HDF5 layouts: read datasets by rows, and report damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags.info import BagInfo
from gimp_plugin.storage.bags.layout import has_changed
from gimp_plugin.storage.hdf5 import DamagedBagError, own_dataset, plain_attributes

SUFFIX = ".h5"


def features_of(path: Path, file: h5py.File, name: str = keys.FEATURES) -> h5py.Dataset:
    """Return the dataset of the features.

    Returns
    -------
    The dataset, open as long as its file is.

    Raises
    ------
    BagError
        If the file has none.
    """
    features = own_dataset(file, name)
    if features is None:
        raise BagError(
            f"{str(path)!r} has no dataset {name!r}, only {sorted(file)[:5]}",
            hint="give a feature file",
        )
    return features


def attributes_of(file: h5py.File, *datasets: h5py.Dataset | None) -> dict[str, Any]:
    """Merge attributes of a file and its datasets; the file, then the first, takes precedence."""
    attributes = plain_attributes(file.attrs)
    for dataset in datasets:
        if dataset is not None:
            attributes = plain_attributes(dataset.attrs) | attributes
    return attributes


def feature_rows(info: BagInfo, file: h5py.File, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows of `features`."""
    with reading(info, file, keys.FEATURES) as dataset:
        return np.asarray(dataset[start:stop])


def coords(info: BagInfo, file: h5py.File) -> NDArray[Any]:
    """Read all of `coords`."""
    with reading(info, file, keys.COORDS) as dataset:
        return np.asarray(dataset[:])


@contextmanager
def reading(info: BagInfo, file: h5py.File, name: str, *, axis: int = 0) -> Iterator[h5py.Dataset]:
    """Yield a dataset of a bag; bytes that fail their checksum raise an error naming the file."""
    dataset = own_dataset(file, name)
    if dataset is None or dataset.ndim <= axis or dataset.shape[axis] != info.n_patches:
        raise has_changed(info)
    try:
        yield dataset
    except OSError as error:
        problem = f"{str(info.path)!r}: {name!r} is damaged (checksum or storage)"
        raise DamagedBagError(problem, hint="extract this slide again, with --overwrite") from error
