"""Output of TIAToolbox's DeepFeatureExtractor: `features` and `coordinates` in a zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.storage import zarr_folders
from gimp_plugin.storage.bags.info import READ, BagInfo, check_shapes
from gimp_plugin.storage.bags.layout import Layout, has_changed
from gimp_plugin.storage.zarr_folders import array_of

NAME = "tiatoolbox-zarr"
COORDINATES = "coordinates"
RANDOM_DIM = 2048
RANDOM = (
    f"{RANDOM_DIM} features of TIAToolbox: its 'resnet50' has random weights unless some were "
    "given, and such features mean little; gimp extract-features has a trained one"
)


def claims(folder: Path) -> bool:
    """Whether the folder has `features`, unlike other zarr layouts."""
    return array_of(folder, keys.FEATURES) is not None


def look(path: Path, folder: Path) -> BagInfo:
    """Read the shape of the features; such a folder states nothing else."""
    features, places = array_of(folder, keys.FEATURES), array_of(folder, COORDINATES)
    if features is None:
        raise has_changed(BagInfo(path=path, slide_id="", n_patches=0, dim=0))
    names = (keys.FEATURES, COORDINATES)
    shape = None if places is None else places.shape
    check_shapes(path, features.shape, shape, names=names, n_coords=4)
    for array in (features, places):
        if array is not None:
            array.check_chunks()
    return BagInfo(
        path=path,
        slide_id=path.name.removesuffix(zarr_folders.SUFFIX),
        n_patches=features.shape[0],
        dim=features.shape[1],
        layout=NAME,
        has_coords=places is not None,
        coords_unit=READ,
        caution=RANDOM if features.shape[1] == RANDOM_DIM else "",
        parts=tuple(path / name for name in names if (path / name).exists()),
    )


def rows(info: BagInfo, folder: Path, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows of `features`."""
    features = array_of(folder, keys.FEATURES)
    if features is None or features.shape != (info.n_patches, info.dim):
        raise has_changed(info)
    return features.read(start, stop)


def corners(info: BagInfo, folder: Path) -> NDArray[Any]:
    """Read the top-left corners; `coordinates` are left, top, right, bottom."""
    places = array_of(folder, COORDINATES)
    if places is None or places.shape != (info.n_patches, 4):
        raise has_changed(info)
    return places.read()[:, :2]


LAYOUT = Layout(
    name=NAME,
    suffix=zarr_folders.SUFFIX,
    opened=zarr_folders.opened,
    claims=claims,
    look=look,
    rows=rows,
    corners=corners,
)
