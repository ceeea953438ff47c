"""Bags: the patch features of one slide, read lazily and checked.

`layouts.LAYOUTS` lists the readable layouts: ours, and those of CLAM, TRIDENT, STAMP, TIAToolbox
and LazySlide, each in its own module. Plugins may add others. `BagWriter` writes ours.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError, GimpError, MissingFileError
from gimp_plugin.storage.bag_writer import BagWriter
from gimp_plugin.storage.bags.hdf5_bags import SUFFIX
from gimp_plugin.storage.bags.info import MAX_DIM, MAX_PATCHES, MICRONS, BagInfo
from gimp_plugin.storage.bags.layouts import layout_of, look, suffixes
from gimp_plugin.storage.finite import all_finite

__all__ = [
    "MAX_DIM",
    "MAX_PATCHES",
    "SUFFIX",
    "BagInfo",
    "BagWriter",
    "bag_paths",
    "list_bags",
    "read_coords",
    "read_features",
    "read_info",
    "scan_bags",
    "suffixes",
]

logger = logging.getLogger(__name__)


def read_info(path: Path) -> BagInfo:
    """Read the shape and attributes of a feature file, but no features.

    Returns
    -------
    Description of the bag; the file is closed.

    Raises
    ------
    MissingFileError
        If there is no such file.
    BagError
        If it is damaged, unfinished or not a feature file.
    SafetyError
        If it refers to bytes of other files.
    """
    return look(path)


def read_features(info: BagInfo, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read only rows `start` to `stop` of a bag's features.

    Returns
    -------
    Finite float16 or float32, as stored; other types are converted to float32.

    Raises
    ------
    BagError
        If bytes are damaged, or a value is not finite (the message names the first such row).
    """
    layout = layout_of(info)
    with layout.opened(info.path) as file:
        direct = layout.direct(info, file, start, stop) if layout.direct else None
        if direct is not None:
            return direct
        features = layout.rows(info, file, start, stop)
    if features.dtype not in (np.float16, np.float32):
        with np.errstate(over="ignore"):
            features = features.astype(np.float32)
    if not all_finite(features):
        row = start + int(np.argmin(np.isfinite(features).all(axis=1)))
        raise BagError(
            f"{str(info.path)!r}: row {row} of {keys.FEATURES!r} is not finite",
            hint="extract this slide again, with --overwrite",
        )
    return features


def read_coords(
    info: BagInfo, *, mpp: float | None = None, read_mpp: float | None = None
) -> NDArray[np.int32]:
    """Read the top-left corners (x, y) of a bag's patches, in level-0 pixels.

    Parameters
    ----------
    info
        The bag.
    mpp
        Microns per pixel of the slide's level 0, for files whose unit is not level-0 pixels.
    read_mpp
        Microns per pixel at which the patches were read, for files in pixels of that resolution.

    Returns
    -------
    Shape (patch, 2), in the order of the features.

    Raises
    ------
    BagError
        If the file has no coordinates, its bytes are damaged, or its unit needs an `mpp` that is
        not given.
    """
    if not info.has_coords:
        raise BagError(
            f"{str(info.path)!r} has no dataset {keys.COORDS!r}",
            hint="the places of its patches are unknown; extract the slide again",
        )
    scale = _pixels_per_unit(info, mpp, read_mpp)
    layout = layout_of(info)
    with layout.opened(info.path) as file:
        corners = layout.corners(info, file)
    if scale != 1 or corners.dtype.kind == "f":
        corners = np.rint(corners * scale)
    limits = np.iinfo(np.int32)
    inside = ((corners >= limits.min) & (corners <= limits.max)).all(axis=1)  # NaN fails both
    if not inside.all():
        row = int(np.argmin(inside))
        problem = f"{str(info.path)!r}: row {row} of {keys.COORDS!r} is {corners[row].tolist()}"
        raise BagError(
            f"{problem}, which is not a place on a slide",
            hint="extract this slide again, with --overwrite",
        )
    return corners.astype(np.int32)


def list_bags(folder: Path) -> list[BagInfo]:
    """Read the description of every bag in a folder, in the order of slide_id.

    Returns
    -------
    An empty list for a folder without feature files.

    Raises
    ------
    GimpError
        If the folder is missing, or a file in it is not a usable bag (`scan_bags` continues then).
    """
    bags, errors = scan_bags(folder)
    if errors:
        raise next(iter(errors.values()))
    return bags


def scan_bags(folder: Path) -> tuple[list[BagInfo], dict[str, GimpError]]:
    """Find the usable bags of a folder, in the order of slide_id, and the errors of the others.

    Returns
    -------
    The bags, and the error of each slide_id without one.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    BagError
        If it is a file, or a single bag.
    """
    bags: list[BagInfo] = []
    errors: dict[str, GimpError] = {}
    for slide_id, path in bag_paths(folder).items():
        try:
            bags.append(read_info(path))
        except GimpError as error:
            errors[slide_id] = error
    cautions = Counter(bag.caution for bag in bags if bag.caution)
    for caution, n_bags in cautions.items():
        logger.warning("%d of %d bags: %s", n_bags, len(bags), caution)
    return bags, errors


def bag_paths(folder: Path) -> dict[str, Path]:
    """Find the feature files of a folder by slide_id, one per slide.

    Returns
    -------
    Paths in the order of slide_id; `.h5` is preferred to `.zarr`, and `.zarr` to `.pt`.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    BagError
        If it is a file, or a single bag.
    """
    if folder.is_file():
        problem = f"{str(folder)!r} is a file, expected a folder of features"
        raise BagError(problem, hint="give a cohort with --adata")
    if not folder.is_dir():
        raise MissingFileError(
            f"no folder of features at {str(folder)!r}",
            hint="run gimp extract-features, or give --features",
        )
    if folder.suffix in suffixes():
        problem = f"{str(folder)!r} is a single {folder.suffix}, expected a folder of features"
        raise BagError(problem, hint="give the folder that contains it")
    paths = {
        path.name.removesuffix(suffix): path
        for suffix in reversed(suffixes())
        for path in folder.glob(f"*{suffix}")
        if not path.name.startswith(".")
    }
    return dict(sorted(paths.items()))


def _pixels_per_unit(info: BagInfo, mpp: float | None, read_mpp: float | None) -> float:
    """Number of level-0 pixels per unit of a bag's coordinates."""
    if not info.needs_mpp:
        return 1.0
    where = f"{str(info.path)!r} has its coordinates in {info.coords_unit}"
    if not mpp:
        raise BagError(
            f"{where}: level-0 pixels need the slide's microns per pixel",
            hint="give a slide table with the column mpp",
        )
    if info.coords_unit == MICRONS:
        return 1 / mpp
    if not read_mpp:
        raise BagError(
            f"{where}, which it does not state",
            hint="give the microns per pixel that the tool was run with: --read-mpp",
        )
    return read_mpp / mpp
