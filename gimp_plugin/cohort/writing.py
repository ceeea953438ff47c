"""Write a cohort as AnnData atomically, readable by anndata 0.12 and 0.13."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import GimpError
from gimp_plugin.storage.atomic import whole_file
from gimp_plugin.storage.hdf5 import reserve

if TYPE_CHECKING:
    import pandas as pd

RECORD = "import"
STRUCTURE_BYTES = 2**18


def write_cohort(
    path: Path,
    values: NDArray[np.float32],
    *,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    scale: str,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write cases, genes and their values.

    Text is stored as plain strings, never as categories or a pandas string type, because 0.12
    cannot write those that anndata 0.13 wrote. Equal cohorts give equal bytes.

    Parameters
    ----------
    path
        The .h5ad file.
    values
        Expression, shape (case, gene).
    obs, var
        Tables of the cases and the genes, indexed by name.
    scale
        One of `cohort.scales.SCALES`, stored in `uns`.
    record
        Origin of the cohort, stored in `uns` as JSON.
    """
    uns: dict[str, Any] = {keys.SCALE: scale}
    if record is not None:
        uns[RECORD] = json.dumps(record, sort_keys=True, ensure_ascii=False)
    write_anndata(path, values, obs=obs, var=var, uns={keys.UNS: uns})


def write_anndata(
    path: Path,
    values: NDArray[np.float32],
    *,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    uns: Mapping[str, Any],
    layers: Mapping[str, NDArray[Any]] | None = None,
    obsm: Mapping[str, NDArray[Any]] | None = None,
    varm: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write any AnnData as `write_cohort` does.

    Parameters
    ----------
    path
        The .h5ad file.
    values
        X, shape (obs, var).
    obs, var
        Tables, indexed by name.
    uns
        Plain values.
    layers, obsm, varm
        Further arrays by name; names may not contain '/'.
    """
    from anndata.io import write_elem

    with whole_file(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        reserve(file, _room(values, obs, var, layers, obsm, varm), path=path)
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
        write_elem(file, "X", values)
        write_elem(file, "obs", _with_objects(obs))
        write_elem(file, "var", _with_objects(var))
        write_elem(file, "uns", dict(uns))
        more = {"layers": layers, "obsm": obsm, "obsp": None, "varm": varm, "varp": None}
        for name, arrays in more.items():
            write_elem(file, name, dict(arrays or {}))
        file.flush()
        size = file.id.get_filesize()
        file.close()
        os.truncate(temporary, size)


def read_record(path: Path) -> dict[str, Any] | None:
    """Read the record that `write_cohort` stored in a file.

    Returns
    -------
    The record, or None if the file has none or is not a cohort of ours.
    """
    from gimp_plugin.cohort.container import opened_cohort

    try:
        with opened_cohort(path) as file:
            stored = file.get(f"uns/{keys.UNS}/{RECORD}")
            text = stored[()] if isinstance(stored, h5py.Dataset) else b""
    except (GimpError, OSError):
        return None
    try:
        record = json.loads(text)
    except (TypeError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _room(
    values: NDArray[np.float32],
    obs: pd.DataFrame,
    var: pd.DataFrame,
    *more: Mapping[str, NDArray[Any]] | None,
) -> int:
    """Upper bound of a file's size in bytes, with generous allowances for text and structure."""
    arrays = [values, *(array for each in more for array in (each or {}).values())]
    tables = sum(int(table.memory_usage(deep=True).sum()) for table in (obs, var))
    return sum(array.nbytes for array in arrays) + 2 * tables + STRUCTURE_BYTES


def _with_objects(table: pd.DataFrame) -> pd.DataFrame:
    """Convert text columns to objects, which the older anndata can also write."""
    copy = table.copy()
    copy.index = copy.index.astype(object)
    for name in copy.columns:
        if copy[name].dtype.kind not in "iufb":
            cells = copy[name].astype(object)
            copy[name] = cells.where(cells.notna(), "").map(str).astype(object)
    return copy
