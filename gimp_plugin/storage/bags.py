"""Bags: the patch features of one slide, read lazily and checked at the door.

Our own files (`gimp.features`) and those of CLAM's layout, `features` and `coords` in one HDF5
file, are read alike, and so are CLAM's bare tensors (`.pt`), which have no coords. `BagWriter`
writes ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError, GimpError, MissingFileError
from gimp_plugin.storage import tensor_bags
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.storage.bag_writer import BagWriter
from gimp_plugin.storage.hdf5 import DamagedBagError, opened, own_dataset, plain_attributes

__all__ = [
    "BagInfo",
    "BagWriter",
    "list_bags",
    "read_coords",
    "read_features",
    "read_info",
    "scan_bags",
]

SUFFIX = ".h5"
MAX_PATCHES = 2_000_000
MAX_DIM = 65_536


@dataclass(frozen=True, kw_only=True)
class BagInfo:
    """What a bag is, without its features.

    Parameters
    ----------
    path
        The file.
    slide_id
        File name less its suffix.
    n_patches, dim
        Shape of the features.
    encoder
        `name@` and the first 12 digits of its weights' hash for our files; what a foreign file
        says of itself, or None.
    has_coords
        Whether the file says where its patches lie.
    attributes
        All that the file says of itself, as Python values.
    """

    path: Path
    slide_id: str
    n_patches: int
    dim: int
    encoder: str | None = None
    has_coords: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the features: as stored while writing for our files, else of the whole file."""
        stored = self.attributes.get(keys.FEATURES_SHA256)
        ours = self.attributes.get(keys.FORMAT) == keys.BAG_FORMAT
        return str(stored) if ours and stored else sha256_file(self.path)


def read_info(path: Path) -> BagInfo:
    """Look at a feature file: its shape and what it says of itself; no feature is read.

    Returns
    -------
    What the file is; nothing keeps it open.

    Raises
    ------
    MissingFileError
        If there is no such file.
    BagError
        If it is damaged, unfinished or not a feature file.
    SafetyError
        If it shows other files' bytes.
    """
    if path.suffix == tensor_bags.SUFFIX:
        return _tensor_info(path)
    with opened(path) as file:
        attributes = plain_attributes(file.attrs)
        _check_kind(path, file, attributes)
        features, coords = own_dataset(file, keys.FEATURES), own_dataset(file, keys.COORDS)
        if features is None:
            raise BagError(
                f"{str(path)!r} has no dataset {keys.FEATURES!r}, only {sorted(file)[:5]}",
                hint="give a feature file",
            )
        _check_shapes(path, features.shape, None if coords is None else coords.shape)
        for dataset in (features, coords):
            if dataset is not None:
                attributes = plain_attributes(dataset.attrs) | attributes
        return BagInfo(
            path=path,
            slide_id=path.name.removesuffix(SUFFIX),
            n_patches=features.shape[0],
            dim=features.shape[1],
            encoder=_encoder(attributes),
            has_coords=coords is not None,
            attributes=attributes,
        )


def read_features(info: BagInfo, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Rows `start` to `stop` of a bag's features; only these are read.

    Returns
    -------
    Finite float16 or float32, as stored; other types are converted to float32.

    Raises
    ------
    BagError
        If bytes are damaged, or a value is not finite (the first such row is named).
    """
    if info.path.suffix == tensor_bags.SUFFIX:
        features: NDArray[Any] = tensor_bags.rows_of(info.path, start, stop)
    else:
        with _reading(info, keys.FEATURES) as dataset:
            features = dataset[start:stop]
    if features.dtype not in (np.float16, np.float32):
        features = features.astype(np.float32)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        row = start + int(np.argmin(finite))
        raise BagError(
            f"{str(info.path)!r}: row {row} of {keys.FEATURES!r} is not finite",
            hint="extract this slide again",
        )
    return features


def read_coords(info: BagInfo) -> NDArray[np.int32]:
    """Top-left corners (x, y) of a bag's patches, in level-0 pixels.

    Returns
    -------
    Shape (patch, 2), in the order of the features.

    Raises
    ------
    BagError
        If the file does not say where its patches lie, or its bytes are damaged.
    """
    if not info.has_coords:
        raise BagError(
            f"{str(info.path)!r} has no dataset {keys.COORDS!r}",
            hint="its patches have no place; extract the slide again",
        )
    with _reading(info, keys.COORDS) as dataset:
        return np.asarray(dataset[:], dtype=np.int32)


def list_bags(folder: Path) -> list[BagInfo]:
    """Every bag of a folder, in the order of slide_id.

    Returns
    -------
    An empty list for a folder without `.h5` and `.pt` files.

    Raises
    ------
    GimpError
        If the folder is missing, or a file in it is not a good bag (`scan_bags` goes on instead).
    """
    bags, errors = scan_bags(folder)
    if errors:
        raise next(iter(errors.values()))
    return bags


def scan_bags(folder: Path) -> tuple[list[BagInfo], dict[str, GimpError]]:
    """Every good bag of a folder in the order of slide_id, and what is wrong with the others.

    Of two files of one slide, the `.h5` is read, since it knows where the patches lie.

    Returns
    -------
    The bags, and the error of each slide_id that has none.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    BagError
        If it is a file.
    """
    if folder.is_file():
        problem = f"{str(folder)!r} is a file, expected a folder of features"
        raise BagError(problem, hint="a cohort is given as --adata")
    if not folder.is_dir():
        raise MissingFileError(
            f"no folder of features at {str(folder)!r}",
            hint="run gimp extract-features, or give --features",
        )
    bags, errors = [], {}
    paths = {
        path.stem: path
        for suffix in (tensor_bags.SUFFIX, SUFFIX)
        for path in folder.glob(f"*{suffix}")
        if not path.name.startswith(".")
    }
    for slide_id, path in sorted(paths.items()):
        try:
            bags.append(read_info(path))
        except GimpError as error:
            errors[slide_id] = error
    return bags, errors


def _tensor_info(path: Path) -> BagInfo:
    """Look at a bag that is a bare tensor."""
    shape = tuple(tensor_bags.read_tensor(path).shape)
    _check_shapes(path, shape, None)
    return BagInfo(
        path=path, slide_id=path.stem, n_patches=shape[0], dim=shape[1], has_coords=False
    )


@contextmanager
def _reading(info: BagInfo, name: str) -> Iterator[h5py.Dataset]:
    """Give a dataset of a bag; bytes that fail their checksum are an error that names the file."""
    with opened(info.path) as file:
        dataset = own_dataset(file, name)
        if dataset is None or dataset.shape[0] != info.n_patches:
            raise BagError(
                f"{str(info.path)!r} has changed since it was looked at",
                hint="run the command again",
            )
        try:
            yield dataset
        except OSError as error:
            problem = f"{str(info.path)!r}: {name!r} is damaged (checksum or storage)"
            raise DamagedBagError(problem, hint="extract this slide again") from error


def _check_kind(path: Path, file: h5py.File, attributes: dict[str, Any]) -> None:
    """Refuse other kinds of file, newer versions of ours, and unfinished ones."""
    if attributes.get("encoding-type") == "anndata" or {"X", "obs", "var"} <= set(file):
        raise BagError(
            f"{str(path)!r} is an AnnData file (an expression cohort?), not a feature file",
            hint="a cohort is given as --adata",
        )
    kind = attributes.get(keys.FORMAT, keys.BAG_FORMAT)
    if kind != keys.BAG_FORMAT:
        raise BagError(
            f"{str(path)!r} is a {kind!r} file, expected {keys.BAG_FORMAT!r}",
            hint="give a feature file",
        )
    if keys.FORMAT not in attributes:
        return
    version = attributes.get(keys.FORMAT_VERSION)
    if version != keys.BAG_FORMAT_VERSION:
        problem = (
            f"{str(path)!r} is version {version} of {keys.BAG_FORMAT!r}, "
            f"this program reads version {keys.BAG_FORMAT_VERSION}"
        )
        raise BagError(problem, hint="update gimp-plugin, or extract again")
    if not attributes.get(keys.COMPLETE):
        problem = f"{str(path)!r} was not finished by its writer"
        raise DamagedBagError(problem, hint="run gimp extract-features again")


def _check_shapes(path: Path, shape: tuple[int, ...], coords_shape: tuple[int, ...] | None) -> None:
    """Refuse shapes that cannot be a bag."""
    if len(shape) != 2 or shape[1] < 1:
        raise BagError(
            f"{str(path)!r}: {keys.FEATURES!r} has shape {shape}, expected (patches, dim)",
            hint="give patch features",
        )
    if shape[0] == 0:
        raise BagError(f"{str(path)!r} has no patches", hint="leave this slide out")
    if shape[0] > MAX_PATCHES or shape[1] > MAX_DIM:
        problem = (
            f"{str(path)!r}: {keys.FEATURES!r} has shape {shape}, "
            f"at most ({MAX_PATCHES}, {MAX_DIM}) is read"
        )
        raise BagError(problem, hint="is it a feature file?")
    if coords_shape is not None and coords_shape != (shape[0], 2):
        problem = (
            f"{str(path)!r}: {keys.COORDS!r} has shape {coords_shape}, "
            f"expected ({shape[0]}, 2) as {keys.FEATURES!r} has {shape[0]} rows"
        )
        raise BagError(problem, hint="extract this slide again")


def _encoder(attributes: dict[str, Any]) -> str | None:
    """Identity of the encoder that made the features, as far as the file tells."""
    name = attributes.get(keys.ENCODER)
    weights = attributes.get(keys.ENCODER_WEIGHTS)
    if name is None or weights is None:
        return name
    return f"{name}@{str(weights)[:12]}"
