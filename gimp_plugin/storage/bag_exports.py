"""Write bags in our layout or those of other tools: streamed, atomic and reproducible."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import BagError
from gimp_plugin.storage.atomic import PARTIAL, whole_file
from gimp_plugin.storage.bag_writer import BagWriter
from gimp_plugin.storage.bags import BagInfo, read_features
from gimp_plugin.storage.bags.hdf5_bags import SUFFIX as H5
from gimp_plugin.storage.tensor_bags import SUFFIX as PT

WINDOW = 4096
"""Number of patches in memory at a time."""

CLAM_CHUNK = 32
NOT_SAID = "None"
"""TRIDENT's value for unknown attributes."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """One bag to write in another layout.

    Parameters
    ----------
    info
        The bag.
    coords
        Its coordinates in level-0 pixels, or None if the target needs none.
    encoder
        Name of the encoder, or empty.
    mpp
        Microns per pixel of the slide's level 0, from a table; 0 for none.
    """

    info: BagInfo
    coords: NDArray[np.int32] | None
    encoder: str
    mpp: float = 0.0

    def windows(self, dtype: type | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the features a few thousand rows at a time.

        Yields
        ------
        Number of the first row, and the rows.

        Raises
        ------
        BagError
            If a value does not fit the type; the message names its row.
        """
        for start in range(0, self.info.n_patches, WINDOW):
            rows = read_features(self.info, start, min(start + WINDOW, self.info.n_patches))
            if dtype is not None and rows.dtype != dtype:
                with np.errstate(over="ignore"):
                    narrow: NDArray[Any] = rows.astype(dtype)
                _check_fit(self.info, start, rows, narrow)
                rows = narrow
            yield start, rows


@dataclass(frozen=True, kw_only=True)
class Target:
    """A layout to write.

    Parameters
    ----------
    folder
        Subfolder of the output that the tool expects; empty for none.
    suffix
        Suffix of the files.
    needs_coords, needs_encoder
        Whether a bag must have coordinates, and an encoder's name.
    write
        Writes one bag.
    """

    folder: str
    suffix: str
    needs_coords: bool
    needs_encoder: bool
    write: Callable[[Path, Export], None]


def write_gimp(path: Path, export: Export) -> None:
    """Write one of our bags, float16."""
    info = export.info
    known = ("slide_mpp_x", "slide_mpp_y", "patch_mpp", "patch_size", "patch_size_level0")
    attributes: dict[str, Any] = {
        name: info.attributes[name] for name in known if name in info.attributes
    }
    attributes |= {"converted_from": info.layout, "source_sha256": info.file_sha256}
    if export.encoder:
        attributes[keys.ENCODER] = export.encoder
    if export.mpp and "slide_mpp_x" not in attributes:
        attributes |= {"slide_mpp_x": export.mpp, "slide_mpp_y": export.mpp}
    level0 = _patch_size_level0(export)
    if level0 is not None:
        attributes["patch_size_level0"] = level0
    if info.slide_size:
        attributes |= dict(zip(("slide_width", "slide_height"), info.slide_size, strict=True))
    coords = _coords(export)
    with BagWriter(path, dim=info.dim, attributes=attributes, n_patches=info.n_patches) as bag:
        for start, rows in export.windows(np.float16):
            bag.append(rows, coords[start : start + len(rows)])


def write_clam_h5(path: Path, export: Export) -> None:
    """Write `features`, float32, and `coords`, int32, as CLAM's extract_features does."""
    info = export.info
    with _new_file(path) as file:
        features = _growing(file, keys.FEATURES, (info.n_patches, info.dim), "<f4", CLAM_CHUNK)
        for start, rows in export.windows(np.float32):
            features[start : start + len(rows)] = rows
        coords = _growing(file, keys.COORDS, (info.n_patches, 2), "<i4", CLAM_CHUNK)
        coords[:] = _coords(export)


def write_trident_h5(path: Path, export: Export) -> None:
    """Write `features` and `coords`, int64, with the attributes that TRIDENT's readers expect."""
    info = export.info
    dtype = next(iter(export.windows()))[1].dtype
    with _new_file(path) as file:
        features = _growing(file, keys.FEATURES, (info.n_patches, info.dim), dtype, 1)
        for start, rows in export.windows():
            features[start : start + len(rows)] = rows
        coords = _growing(file, keys.COORDS, (info.n_patches, 2), "<i8", 1)
        coords[:] = _coords(export)
        own = {"name": info.slide_id, "savetodir": NOT_SAID}
        features.attrs.update({keys.ENCODER: export.encoder, **own})
        coords.attrs.update(_trident_tiles(export) | own)


def write_clam_pt(path: Path, export: Export) -> None:
    """Write a bare float32 tensor as CLAM does, assembling it on disk, not in memory."""
    import torch

    info = export.info
    shape = (info.n_patches, info.dim)
    with (
        whole_file(path) as temporary,
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=PARTIAL) as scratch,
    ):
        values = np.memmap(scratch.name, dtype=np.float32, mode="w+", shape=shape)
        for start, rows in export.windows(np.float32):
            values[start : start + len(rows)] = rows
        with temporary.open("wb") as file:  # given a path, torch would store its name
            torch.save(torch.from_numpy(values), file)


TARGETS = {
    "gimp": Target(folder="", suffix=H5, needs_coords=True, needs_encoder=False, write=write_gimp),
    "clam-h5": Target(
        folder="h5_files", suffix=H5, needs_coords=True, needs_encoder=False, write=write_clam_h5
    ),
    "clam-pt": Target(
        folder="pt_files", suffix=PT, needs_coords=False, needs_encoder=False, write=write_clam_pt
    ),
    "trident-h5": Target(
        folder="", suffix=H5, needs_coords=True, needs_encoder=True, write=write_trident_h5
    ),
}
"""Layouts that can be written, by their names in `storage.bags`."""


def _trident_tiles(export: Export) -> dict[str, Any]:
    """Geometry of the tiles as far as known, under TRIDENT's names."""
    said = export.info.attributes
    size = said.get("patch_size", said.get("tile_size_px", NOT_SAID))
    stride = said.get("stride")
    width, height = export.info.slide_size or (NOT_SAID, NOT_SAID)
    level0 = _patch_size_level0(export)
    overlap = size - stride if isinstance(size, int) and isinstance(stride, int) else NOT_SAID
    return {
        "patch_size": size,
        "patch_size_level0": NOT_SAID if level0 is None else level0,
        "level0_magnification": said.get("level0_magnification", said.get("slide_power", NOT_SAID)),
        "target_magnification": said.get("target_magnification", NOT_SAID),
        "overlap": said.get("overlap", overlap),
        "level0_width": width,
        "level0_height": height,
    }


def _patch_size_level0(export: Export) -> int | None:
    """Side of a patch in level-0 pixels, if known, rounded down as in TRIDENT."""
    microns = export.info.attributes.get("tile_size_um")
    if export.info.patch_size_level0 is None and microns and export.mpp:
        return int(float(microns) / export.mpp)
    return export.info.patch_size_level0


def _coords(export: Export) -> NDArray[np.int32]:
    """Coordinates of a bag, which this target needs."""
    if export.coords is None:
        problem = f"{str(export.info.path)!r} does not say where its patches lie"
        raise BagError(problem, hint="only --to clam-pt does without")
    return export.coords


@contextmanager
def _new_file(path: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file that gets its final name when complete."""
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        yield file


def _growing(
    file: h5py.File, name: str, shape: tuple[int, int], dtype: Any, chunk: int
) -> h5py.Dataset:
    """Create a dataset that other tools could append to."""
    layout: dict[str, Any] = {"chunks": (chunk, shape[1]), "maxshape": (None, shape[1])}
    return file.create_dataset(name, shape, dtype, track_times=False, **layout)


def _check_fit(info: BagInfo, start: int, rows: NDArray[Any], narrow: NDArray[Any]) -> None:
    """Refuse values that the narrower type cannot hold."""
    finite = np.isfinite(narrow).all(axis=1)
    if finite.all():
        return
    row = int(np.argmin(finite))
    value = rows[row][~np.isfinite(narrow[row])][0]
    problem = f"{str(info.path)!r}: row {start + row} holds {value:g}, too large for {narrow.dtype}"
    raise BagError(problem, hint="convert to a layout of float32, such as clam-h5")
