"""STAMP's tile features: `feats`, and `coords` in micrometres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags.hdf5_bags import SUFFIX, attributes_of, coords, features_of, reading
from gimp_plugin.storage.bags.info import MICRONS, BagInfo, check_shapes, said
from gimp_plugin.storage.bags.layout import Layout
from gimp_plugin.storage.hdf5 import opened, own_dataset

NAME = "stamp-h5"
FEATS = "feats"
HISTORIC_STRIDE, HISTORIC_UM = 224, 256.0
"""In files of STAMP 1, 224 units are 256 micrometres."""


def claims(file: h5py.File) -> bool:
    """Whether the file has `feats`."""
    return file.get(FEATS, getlink=True) is not None  # `in` would follow a link


def look(path: Path, file: h5py.File) -> BagInfo:
    """Read the shape, the extractor and the tiles' size."""
    feats, places = features_of(path, file, FEATS), own_dataset(file, keys.COORDS)
    attributes = attributes_of(file, feats, places)
    kind = said(attributes, "feat_type")
    if kind not in {None, "tile"}:
        problem = f"{str(path)!r} holds features of a {kind}, expected those of tiles"
        raise BagError(problem, hint="give the folder that stamp preprocess wrote")
    check_shapes(
        path,
        feats.shape,
        None if places is None else places.shape,
        names=(FEATS, keys.COORDS),
    )
    return BagInfo(
        path=path,
        slide_id=path.name.removesuffix(SUFFIX),
        n_patches=feats.shape[0],
        dim=feats.shape[1],
        layout=NAME,
        encoder=said(attributes, "extractor"),
        has_coords=places is not None,
        coords_unit=MICRONS,
        attributes=attributes,
    )


def rows(info: BagInfo, file: h5py.File, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows of `feats`."""
    with reading(info, file, FEATS) as dataset:
        return np.asarray(dataset[start:stop])


def corners(info: BagInfo, file: h5py.File) -> NDArray[Any]:
    """Read corners in micrometres, by STAMP's rules for its newer, older and oldest files."""
    places = coords(info, file).astype(np.float64)
    attributes = info.attributes
    if said(attributes, "tile_size_um") or (
        said(attributes, "unit") == "um" and said(attributes, "tile_size")
    ):
        return places
    size = attributes.get("tile_size") or _stride(places)
    if round(float(size)) == HISTORIC_STRIDE:
        return places / HISTORIC_STRIDE * HISTORIC_UM
    problem = (
        f"{str(info.path)!r} does not state the unit of its {keys.COORDS!r}: no 'tile_size_um', no "
        f"'unit' with 'tile_size', and a stride of {float(size):g}"
    )
    raise BagError(problem, hint="preprocess this slide again with STAMP 2")


def _stride(places: NDArray[np.float64]) -> float:
    """Smallest step between columns or rows of tiles; 0 for a single tile."""
    steps = [np.diff(np.unique(places[:, axis])) for axis in (0, 1)]
    return float(min((step.min() for step in steps if step.size), default=0.0))


LAYOUT = Layout(
    name=NAME,
    suffix=SUFFIX,
    opened=opened,
    claims=claims,
    look=look,
    rows=rows,
    corners=corners,
)
