"""Verify stored bags and runs: every byte of a bag is read and compared with its hashes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError, GimpError
from gimp_plugin.storage.bags import BagInfo, bag_paths, read_coords, read_features, read_info
from gimp_plugin.storage.bags.info import LEVEL0
from gimp_plugin.storage.hdf5 import DamagedBagError
from gimp_plugin.storage.runs import CONFIG, PROVENANCE, read_run

logger = logging.getLogger(__name__)

FINE_MPP = 0.1
"""Any resolution would do to find two patches at one place."""
WINDOW = 4096
"""Number of patches in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Result of verifying one file or folder.

    Parameters
    ----------
    path
        The file or folder.
    kind
        `bag` or `run`.
    n_patches
        Number of patches of a bag.
    problem
        What is wrong; empty if nothing is.
    """

    path: Path
    kind: str
    n_patches: int = 0
    problem: str = ""


def verify(paths: Sequence[Path]) -> Iterator[Verdict]:
    """Verify bags, folders of bags, and run folders.

    Parameters
    ----------
    paths
        Files and folders.

    Yields
    ------
    A verdict for each bag and each run, in order.

    Raises
    ------
    MissingFileError
        If a folder does not exist.
    """
    for path in paths:
        if (path / CONFIG).is_file() or (path / PROVENANCE).is_file():
            yield _verdict(path, "run")
        elif path.is_dir() and not path.name.endswith(".zarr"):
            for bag in bag_paths(path).values():
                yield _verdict(bag, "bag")
        else:
            yield _verdict(path, "bag")


def verify_bag(path: Path) -> BagInfo:
    """Read all of a bag, and compare it with its own attributes.

    Checked are shape and completeness, HDF5's checksums, the hashes in our own bags, that values
    are finite, and that coordinates are unique and, if the slide's size is stated, inside it.

    Parameters
    ----------
    path
        A bag of any readable layout.

    Returns
    -------
    Description of the bag.

    Raises
    ------
    BagError
        If anything is wrong with it.
    """
    info = read_info(path)
    digest = hashlib.sha256()
    for start in range(0, info.n_patches, WINDOW):
        rows = read_features(info, start, min(start + WINDOW, info.n_patches))
        digest.update(np.ascontiguousarray(rows).tobytes())
    _compare(info, keys.FEATURES, keys.FEATURES_SHA256, digest.hexdigest())
    if info.has_coords:
        _check_coords(info, read_coords(info, mpp=FINE_MPP, read_mpp=FINE_MPP))
    return info


def _verdict(path: Path, kind: str) -> Verdict:
    """Verify one bag or run; errors are returned, not raised."""
    try:
        if kind == "run":
            read_run(path)
            return Verdict(path=path, kind=kind)
        return Verdict(path=path, kind=kind, n_patches=verify_bag(path).n_patches)
    except GimpError as error:
        return Verdict(path=path, kind=kind, problem=str(error))


def _compare(info: BagInfo, name: str, key: str, found: str) -> None:
    """Compare a hash with the one stored in our own bags."""
    stored: Any = info.attributes.get(key)
    ours = info.attributes.get(keys.FORMAT) == keys.BAG_FORMAT
    if ours and stored != found:
        problem = (
            f"{str(info.path)!r}: {name!r} has sha256 {found[:12]}, but {stored!r:.14} was recorded"
        )
        raise DamagedBagError(problem, hint="extract this slide again, with --overwrite")


def _check_coords(info: BagInfo, coords: NDArray[np.int32]) -> None:
    """Refuse coordinates that cannot be those of a slide's patches."""
    if info.attributes.get(keys.FORMAT) == keys.BAG_FORMAT:
        digest = hashlib.sha256(np.ascontiguousarray(coords, "<i4").tobytes()).hexdigest()
        _compare(info, keys.COORDS, keys.COORDS_SHA256, digest)
    _, first, count = np.unique(coords, axis=0, return_index=True, return_counts=True)
    if (count > 1).any():
        x, y = coords[int(first[count > 1].min())].tolist()
        problem = f"{str(info.path)!r}: the patch at ({x}, {y}) occurs more than once"
        raise BagError(problem, hint="extract this slide again, with --overwrite")
    unlimited = (np.iinfo(np.int32).max,) * 2
    width, height = (info.slide_size if info.coords_unit == LEVEL0 else None) or unlimited
    outside = (coords < 0).any(axis=1) | (coords[:, 0] >= width) | (coords[:, 1] >= height)
    if outside.any():
        x, y = coords[int(np.argmax(outside))].tolist()
        problem = f"{str(info.path)!r}: the patch at ({x}, {y}) lies outside the slide"
        raise BagError(
            f"{problem} ({width} x {height})", hint="extract this slide again, with --overwrite"
        )
