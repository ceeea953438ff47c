"""Our own bags, `gimp.features`; `storage.bag_writer` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags.hdf5_bags import (
    SUFFIX,
    attributes_of,
    coords,
    feature_rows,
    features_of,
    reading,
)
from gimp_plugin.storage.bags.info import BagInfo, check_shapes
from gimp_plugin.storage.bags.layout import Layout
from gimp_plugin.storage.chunk_reads import read_finite_rows
from gimp_plugin.storage.hdf5 import DamagedBagError, opened, own_dataset, plain_attributes

NAME = "gimp"


def claims(file: h5py.File) -> bool:
    """Whether a file declares our format."""
    return keys.FORMAT in file.attrs


def look(path: Path, file: h5py.File) -> BagInfo:
    """Read the shape, encoder and attributes of one of our files."""
    _check_kind(path, plain_attributes(file.attrs))
    features, places = features_of(path, file), own_dataset(file, keys.COORDS)
    check_shapes(path, features.shape, None if places is None else places.shape)
    attributes = attributes_of(file, features, places)
    return BagInfo(
        path=path,
        slide_id=path.name.removesuffix(SUFFIX),
        n_patches=features.shape[0],
        dim=features.shape[1],
        layout=NAME,
        encoder=encoder_of(attributes),
        has_coords=places is not None,
        attributes=attributes,
    )


def direct(info: BagInfo, file: h5py.File, start: int, stop: int | None) -> NDArray[Any] | None:
    """Read finite rows of `features`, bypassing HDF5's filters, if stored as we write them."""
    with reading(info, file, keys.FEATURES) as dataset:
        return read_finite_rows(dataset, start, stop)


def encoder_of(attributes: dict[str, Any]) -> str | None:
    """Return the identity of the encoder: its name and its weights' hash."""
    name = attributes.get(keys.ENCODER)
    weights = attributes.get(keys.ENCODER_WEIGHTS)
    if name is None or weights is None:
        return name
    return f"{name}@{str(weights)[:12]}"


def _check_kind(path: Path, attributes: dict[str, Any]) -> None:
    """Refuse other kinds of our files, newer versions, and unfinished ones."""
    kind = attributes.get(keys.FORMAT)
    if kind != keys.BAG_FORMAT:
        raise BagError(
            f"{str(path)!r} is a {kind!r} file, expected {keys.BAG_FORMAT!r}",
            hint="give a feature file",
        )
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


LAYOUT = Layout(
    name=NAME,
    suffix=SUFFIX,
    opened=opened,
    claims=claims,
    look=look,
    rows=feature_rows,
    corners=coords,
    direct=direct,
)
