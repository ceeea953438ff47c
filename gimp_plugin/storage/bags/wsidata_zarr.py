"""LazySlide's data of a slide (wsidata, a SpatialData zarr): a table of features, and tiles.

The table `<model>_tiles` is an AnnData with one row per tile. Its rows are matched with the tiles
by `tile_id`, in its `obs` and in the GeoParquet of the shapes `tiles`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import BagError, listed
from gimp_plugin.storage import zarr_folders
from gimp_plugin.storage.bags.info import BagInfo, check_shapes
from gimp_plugin.storage.bags.layout import Layout, has_changed
from gimp_plugin.storage.hdf5 import DamagedBagError, check_regular
from gimp_plugin.storage.zarr_folders import ZarrArray, array_of, node

NAME = "wsidata-zarr"
TABLES = "tables"
TILES = "tiles"
TABLE_END = f"_{TILES}"
PARQUET = f"shapes/{TILES}/shapes.parquet"
TILE_ID, X, Y = "tile_id", "x", "y"


def claims(folder: Path) -> bool:
    """Whether the folder has tables, as a SpatialData zarr has."""
    return node(folder, TABLES) is not None


def look(path: Path, folder: Path) -> BagInfo:
    """Read the shape and model of the only table of tiles, and the size of its tiles."""
    table = _table(path, folder)
    features, ids = _features(path, folder, table), array_of(folder, f"{table}/obs/{TILE_ID}")
    check_shapes(path, features.shape, None, names=("X", "tiles"))
    features.check_chunks()
    parquet = folder / PARQUET
    has_coords = ids is not None and parquet.exists()
    return BagInfo(
        path=path,
        slide_id=path.name.removesuffix(zarr_folders.SUFFIX),
        n_patches=features.shape[0],
        dim=features.shape[1],
        layout=NAME,
        encoder=Path(table).name.removesuffix(TABLE_END),
        has_coords=has_coords,
        attributes={"table": Path(table).name, **_tile_size(folder)},
        parts=(folder / table, *([parquet] if has_coords else [])),
    )


def rows(info: BagInfo, folder: Path, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows of the table's X."""
    features = _features(info.path, folder, f"{TABLES}/{info.attributes['table']}")
    if features.shape != (info.n_patches, info.dim):
        raise has_changed(info)
    return features.read(start, stop)


def corners(info: BagInfo, folder: Path) -> NDArray[Any]:
    """Read the corners of the tiles named by the table's rows, in the table's order."""
    ids = array_of(folder, f"{TABLES}/{info.attributes['table']}/obs/{TILE_ID}")
    if ids is None or ids.shape != (info.n_patches,):
        raise has_changed(info)
    ids.check_chunks(complete=False)  # a chunk of zeros only is not stored
    tile_ids, places = _tiles(info.path, folder)
    order = np.argsort(tile_ids, kind="stable")
    wanted = ids.read()
    found = order[np.minimum(np.searchsorted(tile_ids[order], wanted), len(order) - 1)]
    missing = tile_ids[found] != wanted
    if missing.any():
        problem = f"{str(info.path)!r}: tile {wanted[np.argmax(missing)]} is not in {PARQUET!r}"
        raise BagError(problem, hint="write the features and the tiles again")
    return places[found]


def _table(path: Path, folder: Path) -> str:
    """Name of the only table of tiles."""
    names = sorted(each.name for each in (folder / TABLES).iterdir())
    tables = [name for name in names if name.endswith(TABLE_END) and node(folder, _in(name))]
    if len(tables) == 1:
        return _in(tables[0])
    if not tables:
        problem = f"{str(path)!r} has no table '<model>{TABLE_END}', only {listed(names) or 'none'}"
        raise BagError(problem, hint="extract features of its tiles with LazySlide")
    problem = f"{str(path)!r} has features of {len(tables)} models: {listed(tables)}"
    raise BagError(problem, hint="keep one table: a bag has the features of one model")


def _in(name: str) -> str:
    """Path of a table in the folder."""
    return f"{TABLES}/{name}"


def _features(path: Path, folder: Path, table: str) -> ZarrArray:
    """Array X of a table."""
    features = array_of(folder, f"{table}/X")
    if features is None:
        problem = f"{str(path)!r}: X of {Path(table).name!r} is missing, or sparse"
        raise BagError(problem, hint="give a table with a dense X")
    return features


def _tile_size(folder: Path) -> dict[str, Any]:
    """Size of the slide's tiles, as far as the folder states it."""
    root = node(folder, "") or {}
    specs = root.get("attributes", {}).get("tile_spec")
    spec = specs.get(TILES) if isinstance(specs, dict) else None
    if not isinstance(spec, dict):
        return {}
    names = {"mpp": "patch_mpp", "width": "patch_size", "base_width": "patch_size_level0"}
    return {
        ours: spec[theirs]
        for theirs, ours in names.items()
        if isinstance(spec.get(theirs), int | float)
    }


def _tiles(path: Path, folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ids and top-left corners of all tiles."""
    import pyarrow as pa
    from pyarrow import parquet

    if not node(folder, f"shapes/{TILES}"):
        raise DamagedBagError(f"{str(path)!r} has no shapes {TILES!r}", hint="make it again")
    file = folder / PARQUET
    if file.is_symlink():
        raise zarr_folders.refused_link(folder, file)
    check_regular(file)
    try:
        with parquet.ParquetFile(file) as content:
            lacking = [name for name in (TILE_ID, X, Y) if name not in content.schema_arrow.names]
            if lacking:
                problem = f"{str(path)!r}: {PARQUET!r} has no column {lacking[0]!r}"
                raise BagError(problem, hint="write the tiles again with LazySlide")
            table = content.read(columns=[TILE_ID, X, Y])
            columns = [table[name].to_numpy() for name in (TILE_ID, X, Y)]
    except (pa.ArrowException, OSError) as error:
        raise DamagedBagError(
            f"{str(path)!r}: {PARQUET!r} is damaged", hint="make it again"
        ) from error
    ids = columns[0]
    if len(np.unique(ids)) < len(ids) or not len(ids):
        raise BagError(
            f"{str(path)!r}: a tile is listed twice in {PARQUET!r}", hint="write it again"
        )
    return ids, np.stack(columns[1:], axis=1)


LAYOUT = Layout(
    name=NAME,
    suffix=zarr_folders.SUFFIX,
    opened=zarr_folders.opened,
    claims=claims,
    look=look,
    rows=rows,
    corners=corners,
)
