"""Feature files as other tools write them: in their published layouts, by h5py, torch and zarr."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import zarr
from pyarrow import parquet

MPP, READ_MPP = 0.25, 0.5
UM_PER_TILE = 64.0


def clam_h5(folder: Path, name: str, features: np.ndarray, coords: np.ndarray) -> Path:
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file.create_dataset("features", data=features.astype("f4"), maxshape=(None, None))
        file.create_dataset("coords", data=coords.astype("i4"), maxshape=(None, 2))
    return folder / f"{name}.h5"


def clam_pt(folder: Path, name: str, features: np.ndarray, coords: np.ndarray) -> Path:
    torch.save(torch.from_numpy(features.astype("f4")), folder / f"{name}.pt")
    return folder / f"{name}.pt"


def trident_h5(
    folder: Path,
    name: str,
    features: np.ndarray,
    coords: np.ndarray,
    *,
    encoder: str = "uni_v1",
    stacked: bool = False,
) -> Path:
    stored = features[None] if stacked else features
    own = {"name": name, "savetodir": "/elsewhere/features_uni_v1"}
    tiles = {
        "patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40,
        "target_magnification": 20, "overlap": 0, "level0_width": 90_001, "level0_height": 70_003,
    }  # fmt: skip
    with h5py.File(folder / f"{name}.h5", "w") as file:
        data = file.create_dataset("features", data=stored.astype("f4"))
        data.attrs.update({"encoder": encoder, **own})
        places = file.create_dataset("coords", data=coords.astype("i8"))
        places.attrs.update(tiles | own)
    return folder / f"{name}.h5"


def stamp_h5(
    folder: Path,
    name: str,
    features: np.ndarray,
    coords: np.ndarray,
    *,
    attributes: dict[str, Any] | None = None,
    per_pixel: float = MPP,
) -> Path:
    newest = {
        "stamp_version": "2.4.0", "extractor": "chief-ctranspath", "unit": "um",
        "tile_size_um": 256.0, "tile_size_px": 224, "code_hash": "0" * 64, "feat_type": "tile",
    }  # fmt: skip
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file["feats"] = features.astype("f2")
        file["coords"] = (coords * per_pixel).astype("f4")
        file.attrs.update(newest if attributes is None else attributes)
    return folder / f"{name}.h5"


def tiatoolbox_zarr(folder: Path, name: str, features: np.ndarray, coords: np.ndarray) -> Path:
    group = zarr.open_group(str(folder / f"{name}.zarr"), mode="w", zarr_format=3)
    corners = np.rint(coords * MPP / READ_MPP).astype("i8")
    group.create_array("features", data=features.astype("f4"), chunks=(8, features.shape[1]))
    group.create_array("coordinates", data=np.hstack([corners, corners + 224]), chunks=(8, 4))
    return folder / f"{name}.zarr"


def wsidata_zarr(
    folder: Path,
    name: str,
    features: np.ndarray,
    coords: np.ndarray,
    *,
    models: tuple[str, ...] = ("uni",),
    zarr_format: int = 3,
) -> Path:
    """What `SpatialData.write` leaves of a slide of LazySlide: tiles in another order than rows."""
    path = folder / f"{name}.zarr"
    root = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    spec = {"tiles": {"width": 256, "height": 256, "mpp": 0.5, "base_width": 512}}
    root.attrs.update({"spatialdata_attrs": {"version": "0.2"}, "tile_spec": spec})
    shapes = root.create_group("shapes")
    shapes.create_group("tiles").attrs["encoding-type"] = "ngff:shapes"
    root.create_group("tables")
    ids = np.arange(len(features))
    obs = pd.DataFrame({"tile_id": ids}, index=ids.astype(str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr and anndata warn of their own next versions
        anndata.settings.zarr_write_format = zarr_format
        for model in models:
            table = anndata.AnnData(features.astype("f4"), obs=obs)
            table.write_zarr(path / "tables" / f"{model}_tiles")
        anndata.settings.reset("zarr_write_format")
    turned = ids[::-1]
    tiles = {"tile_id": turned, "x": coords[turned, 0], "y": coords[turned, 1]}
    parquet.write_table(pa.table(tiles), path / "shapes" / "tiles" / "shapes.parquet")
    return path


WRITERS = {
    "clam-h5": clam_h5,
    "clam-pt": clam_pt,
    "trident-h5": trident_h5,
    "stamp-h5": stamp_h5,
    "tiatoolbox-zarr": tiatoolbox_zarr,
    "wsidata-zarr": wsidata_zarr,
}
ENCODERS = {"trident-h5": "uni_v1", "stamp-h5": "chief-ctranspath", "wsidata-zarr": "uni"}


def draw(n_patches: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features that a float16 holds exactly, and distinct corners on a grid of 512 pixels."""
    rng = np.random.default_rng([seed, n_patches])
    features = rng.normal(size=(n_patches, dim)).astype("f2")
    cells = rng.permutation(100 * 80)[:n_patches]
    return features, np.stack([cells % 100, cells // 100], axis=1) * 512
