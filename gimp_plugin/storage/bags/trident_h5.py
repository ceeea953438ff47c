"""TRIDENT's patch features: `features`, maybe with a leading axis of 1, and their encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.storage.bags.hdf5_bags import SUFFIX, attributes_of, coords, features_of, reading
from gimp_plugin.storage.bags.info import BagInfo, check_shapes, said
from gimp_plugin.storage.bags.layout import Layout
from gimp_plugin.storage.hdf5 import opened, own_dataset, plain_attributes

NAME = "trident-h5"


def claims(file: h5py.File) -> bool:
    """Whether the features name their encoder as TRIDENT does, or have its leading axis."""
    if not isinstance(file.get(keys.FEATURES, getlink=True), h5py.HardLink):
        return False
    features = file[keys.FEATURES]
    if not isinstance(features, h5py.Dataset):
        return False
    return _is_stacked(features) or keys.ENCODER in features.attrs


def look(path: Path, file: h5py.File) -> BagInfo:
    """Read the shape, the encoder and the tiles' size."""
    features, places = features_of(path, file), own_dataset(file, keys.COORDS)
    shape = features.shape[1:] if _is_stacked(features) else features.shape
    check_shapes(path, shape, None if places is None else places.shape)
    return BagInfo(
        path=path,
        slide_id=path.name.removesuffix(SUFFIX),
        n_patches=shape[0],
        dim=shape[1],
        layout=NAME,
        encoder=said(plain_attributes(features.attrs), keys.ENCODER),
        has_coords=places is not None,
        attributes=attributes_of(file, features, places),
    )


def rows(info: BagInfo, file: h5py.File, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows of `features`, with or without the leading axis."""
    axis = int(_is_stacked(file[keys.FEATURES]))
    with reading(info, file, keys.FEATURES, axis=axis) as dataset:
        return np.asarray(dataset[0, start:stop] if axis else dataset[start:stop])


def _is_stacked(features: h5py.Dataset) -> bool:
    """Whether the features have shape (1, patches, dim)."""
    return features.ndim == 3 and features.shape[0] == 1


LAYOUT = Layout(
    name=NAME,
    suffix=SUFFIX,
    opened=opened,
    claims=claims,
    look=look,
    rows=rows,
    corners=coords,
)
