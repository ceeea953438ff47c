"""Read an expression matrix, dense or sparse, without trusting its index.

Compressed layouts are expanded here, block by block, because anndata and scipy trust their index,
and a single entry out of range crashes the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.container import attribute
from gimp_plugin.errors import CohortError, ResourceError, did_you_mean, listed

_DENSE = ("array", "0.2.0")
_COMPRESSED = {("csr_matrix", "0.1.0"): 0, ("csc_matrix", "0.1.0"): 1}
_BLOCK_VALUES = 1 << 22


def read_matrix(
    file: h5py.File, shape: tuple[int, int], *, layer: str | None = None
) -> NDArray[np.float32]:
    """Read the expression values of a cohort.

    Parameters
    ----------
    file
        An open AnnData file.
    shape
        Numbers of cases and genes in `obs` and `var`.
    layer
        Layer to read instead of X.

    Returns
    -------
    The values as stored, shape (case, gene).

    Raises
    ------
    CohortError
        If there is no such matrix, it does not hold numbers, its shape differs, its sparse index
        is wrong, or its bytes are damaged.
    ResourceError
        If it does not fit into memory.
    """
    element = _matrix(file, layer)
    try:
        if isinstance(element, h5py.Dataset):
            return _read_dense(element, shape)
        return _read_compressed(element, shape)
    except MemoryError as error:
        problem = (
            f"{_at(element)} of {shape[0]} cases and {shape[1]} genes does not fit into the memory"
        )
        raise ResourceError(problem, hint="use a machine with more memory") from error
    except (OSError, RuntimeError) as error:
        problem = f"{_at(element)} is damaged: {error}"
        raise CohortError(problem, hint="make or copy it again") from error


def _matrix(file: h5py.File, layer: str | None) -> h5py.Dataset | h5py.Group:
    """Return the element that holds X or the layer."""
    layers = list(file["layers"]) if isinstance(file.get("layers"), h5py.Group) else []
    if layer is not None and layer not in layers:
        problem = f"{file.filename!r} has no layer {layer!r}{did_you_mean(layer, layers)}"
        raise CohortError(problem, hint=f"it has {listed(layers) or 'none'}")
    element = file.get("X") if layer is None else file["layers"][layer]
    if element is None or getattr(element, "shape", ()) is None:
        others = [name for name in layers if name != layer]
        hint = f"give --layer, one of {listed(others)}" if others else "store the expression in X"
        what = "has no X" if layer is None else f"holds nothing in layer {layer!r}"
        raise CohortError(f"{file.filename!r} {what}", hint=hint)
    return element


def _read_dense(dataset: h5py.Dataset, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Read a dense matrix."""
    encoding = _encoding(dataset)
    if encoding not in {_DENSE, (None, None)}:
        raise _unknown_encoding(dataset, encoding)
    _check_numbers(dataset, dataset)
    _check_shape(dataset, dataset.shape, shape)
    _check_written(dataset, dataset)
    values = np.empty(shape, dtype=np.float32)
    least = dataset.chunks[0] if dataset.chunks else 1
    for rows in _blocks(shape[0], width=shape[1], least=least):
        values[rows] = _float32(dataset[rows])
    return values


def _read_compressed(group: h5py.Group, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Expand a CSR or CSC matrix, checking each piece of its index before use."""
    encoding = _encoding(group)
    if encoding not in _COMPRESSED:
        raise _unknown_encoding(group, encoding)
    axis = _COMPRESSED[encoding]
    _check_shape(group, tuple(np.ravel(group.attrs.get("shape", ())).tolist()), shape)
    data, indices, indptr = (_vector(group, name) for name in ("data", "indices", "indptr"))
    _check_numbers(group, data)
    bounds = _checked_bounds(group, indptr, n_rows=shape[axis], n_values=data.shape[0])
    if indices.shape != data.shape:
        raise _bad_index(group, f"{indices.shape[0]} indices for {data.shape[0]} values")
    values = np.zeros(shape, dtype=np.float32)
    by_row = values if axis == 0 else values.T
    for rows in _blocks(shape[axis], width=shape[1 - axis], least=1):
        start, stop = bounds[rows.start], bounds[rows.stop]
        columns = _checked_columns(group, indices[start:stop], n_columns=shape[1 - axis])
        lengths = np.diff(bounds[rows.start : rows.stop + 1])
        places = (np.repeat(np.arange(rows.start, rows.stop), lengths), columns)
        np.add.at(by_row, places, _float32(data[start:stop]))
    return values


def _vector(group: h5py.Group, name: str) -> h5py.Dataset:
    """One of the three vectors of a compressed matrix."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
        raise _bad_index(group, f"no vector {name!r}")
    if name != "data" and dataset.dtype.kind not in "iu":
        raise _bad_index(group, f"{name!r} of type {dataset.dtype}, expected whole numbers")
    _check_written(group, dataset)
    return dataset


def _checked_bounds(
    group: h5py.Group, indptr: h5py.Dataset, *, n_rows: int, n_values: int
) -> NDArray[np.int64]:
    """Read where each row begins and ends; refuse impossible bounds."""
    if indptr.shape[0] != n_rows + 1:
        raise _bad_index(group, f"{indptr.shape[0]} entries in 'indptr', expected {n_rows + 1}")
    bounds = indptr[:].astype(np.int64)
    if bounds[0] != 0 or bounds[-1] != n_values or (np.diff(bounds) < 0).any():
        raise _bad_index(group, f"'indptr' does not rise from 0 to the {n_values} values")
    return bounds


def _checked_columns(
    group: h5py.Group, columns: NDArray[Any], *, n_columns: int
) -> NDArray[np.int64]:
    """Return the columns of some values; refuse any outside the matrix."""
    if columns.size and not (columns.min() >= 0 and columns.max() < n_columns):
        worst = columns.max() if columns.max() >= n_columns else columns.min()
        raise _bad_index(group, f"entry {worst} in 'indices', expected 0 to {n_columns - 1}")
    return columns.astype(np.int64)


def _check_numbers(element: h5py.Dataset | h5py.Group, dataset: h5py.Dataset) -> None:
    """Refuse text, truth values and records."""
    if dataset.dtype.kind not in "fiu":
        kind = "text" if h5py.check_string_dtype(dataset.dtype) else f"type {dataset.dtype}"
        problem = f"{_at(element)} holds {kind}, expected numbers"
        raise CohortError(problem, hint="store the expression as numbers")


def _check_shape(
    element: h5py.Dataset | h5py.Group, found: tuple[int, ...], shape: tuple[int, int]
) -> None:
    """Refuse a matrix whose shape does not match `obs` and `var`."""
    if tuple(found) != shape:
        named = f"'obs' names {shape[0]} cases and 'var' {shape[1]} genes"
        raise CohortError(f"{_at(element)} has the shape {tuple(found)}, but {named}")


def _check_written(element: h5py.Dataset | h5py.Group, dataset: h5py.Dataset) -> None:
    """Refuse uncompressed values that were never written, which would read as 0."""
    stored, claimed = int(dataset.id.get_storage_size()), dataset.size * dataset.dtype.itemsize
    if dataset.compression is None and dataset.scaleoffset is None and stored < claimed:
        problem = f"{_at(element)} stores {stored} of {claimed} bytes"
        raise CohortError(problem, hint="its writer was interrupted; make it again")


def _blocks(n_rows: int, *, width: int, least: int) -> Iterator[slice]:
    """Yield rows in blocks of a few million values."""
    step = max(least, 1, _BLOCK_VALUES // max(1, width))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Convert to single precision; values too large for it become infinite and are caught later."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _encoding(element: h5py.Dataset | h5py.Group) -> tuple[str | None, str | None]:
    """Return anndata's encoding type and version."""
    return attribute(element, "encoding-type"), attribute(element, "encoding-version")


def _unknown_encoding(
    element: h5py.Dataset | h5py.Group, encoding: tuple[str | None, str | None]
) -> CohortError:
    """Error for a matrix in a layout that this version does not know."""
    found = " ".join(str(part) for part in encoding)
    problem = f"{_at(element)} is encoded as {found!r}, expected a dense, CSR or CSC matrix"
    return CohortError(
        problem, hint="was it written by a newer anndata? store it dense, CSR or CSC"
    )


def _bad_index(group: h5py.Group, what: str) -> CohortError:
    """Error for a sparse matrix that would crash its reader."""
    problem = f"{_at(group)} has a wrong sparse index: {what}"
    return CohortError(problem, hint="write the file again from its source")


def _at(element: h5py.Dataset | h5py.Group) -> str:
    """Name a matrix and its file."""
    return f"{element.name.lstrip('/')!r} of {element.file.filename!r}"
