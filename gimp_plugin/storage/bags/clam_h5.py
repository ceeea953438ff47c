"""CLAM's layout, and any other HDF5 file with `features` and `coords`."""

from __future__ import annotations

from pathlib import Path

import h5py

from gimp_plugin import keys
from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags.gimp_h5 import encoder_of
from gimp_plugin.storage.bags.hdf5_bags import (
    SUFFIX,
    attributes_of,
    coords,
    feature_rows,
    features_of,
)
from gimp_plugin.storage.bags.info import BagInfo, check_shapes
from gimp_plugin.storage.bags.layout import Layout
from gimp_plugin.storage.hdf5 import opened, own_dataset

NAME = "clam-h5"


def claims(_file: h5py.File) -> bool:
    """Whether it is of this layout: always, as this reader is tried last."""
    return True


def look(path: Path, file: h5py.File) -> BagInfo:
    """Read the shape of the features; such a file seldom states more."""
    if file.attrs.get("encoding-type") == "anndata" or {"X", "obs", "var"} <= set(file):
        raise BagError(
            f"{str(path)!r} is an AnnData file (an expression cohort?), not a feature file",
            hint="give a cohort with --adata",
        )
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


LAYOUT = Layout(
    name=NAME,
    suffix=SUFFIX,
    opened=opened,
    claims=claims,
    look=look,
    rows=feature_rows,
    corners=coords,
)
