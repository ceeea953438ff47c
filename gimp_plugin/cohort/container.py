"""The HDF5 container of a cohort: the checks it must pass before any value is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py

from gimp_plugin import keys
from gimp_plugin.errors import BagError, CohortError, GimpError, SafetyError
from gimp_plugin.storage.hdf5 import MAX_EXPANSION, opened

_FREE_BYTES = 1 << 30
_ROOT_VERSIONS = ("0.1.0", None)
_HINT = "give an AnnData file, .h5ad"
NEWER = "it was written by a newer anndata: write it with an older one, or upgrade gimp-plugin"
_DAMAGE = (OSError, RuntimeError, SystemError, TypeError, ValueError, LookupError)
"""Exceptions of h5py for a file with a damaged structure."""


@contextmanager
def opened_cohort(path: Path) -> Iterator[h5py.File]:
    """Open an AnnData file of unknown origin for reading.

    Parameters
    ----------
    path
        The .h5ad file.

    Yields
    ------
    The open file; it has `obs` and `var` and refers to no other file.

    Raises
    ------
    MissingFileError
        If there is no such file.
    LockedError
        If another process has it open for writing.
    SafetyError
        If it has links or external storage, or claims far more values than it holds.
    CohortError
        If it is truncated, damaged, not HDF5, not an AnnData file, or from a newer anndata; also
        if damage is found while reading within the context.
    """
    with _hdf5(path) as file:
        try:
            _check_safe(file, path)
            _check_anndata(file, path)
            yield file
        except GimpError:
            raise
        except _DAMAGE as error:
            problem = f"{str(path)!r} is damaged: {str(error) or type(error).__name__}"
            raise CohortError(problem, hint="make or copy it again") from error


def attribute(element: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Return an attribute, decoded if it is text; None if there is none."""
    value = element.attrs.get(name)
    return value.decode() if isinstance(value, bytes) else value


def read_element(file: h5py.File, name: str) -> Any:
    """Read a table or a column with anndata.

    Parameters
    ----------
    file
        An open AnnData file.
    name
        Path of the element in the file.

    Returns
    -------
    The element as anndata reads it.

    Raises
    ------
    CohortError
        If anndata cannot read it; the message names the element and its encoding.
    """
    from anndata.io import read_elem  # takes a second, which --help need not wait for

    try:
        return read_elem(file[name])
    except Exception as error:  # anndata's class for unknown encodings is private
        encoding = f"{attribute(file[name], 'encoding-type')} "
        encoding += str(attribute(file[name], "encoding-version"))
        problem = f"{name!r} of {file.filename!r} cannot be read (encoded as {encoding!r})"
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = f"damaged, or written by a newer anndata: {first}"
        raise CohortError(problem, hint=hint) from error


@contextmanager
def _hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; the errors of `storage.hdf5` become those of a cohort."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(opened(path))
        except BagError as error:
            raise CohortError(error.problem, hint=_HINT) from error
        yield file


def _check_safe(file: h5py.File, path: Path) -> None:
    """Refuse links to other places, bytes in other files, and absurd sizes."""
    allowance = max(_FREE_BYTES, path.stat().st_size * MAX_EXPANSION)

    def visit(name: str, link: object) -> tuple[str, str] | None:
        if not isinstance(link, h5py.HardLink):
            return name, f"is a {type(link).__name__} to another place"
        element = file[name]
        what = _danger(element, allowance) if isinstance(element, h5py.Dataset) else ""
        return (name, what) if what else None

    found = file.visititems_links(visit)  # HDF5 would swallow an exception in visit
    if found is not None:
        name, what = found
        problem = f"{str(path)!r}: {name!r} {what}; nothing was read"
        raise SafetyError(problem, hint="ask its author for a file without links")


def _danger(dataset: h5py.Dataset, allowance: int) -> str:
    """Say why a dataset must not be read; empty if it may be."""
    if dataset.is_virtual or dataset.external:
        return "is stored in other files"
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        return "holds references, not values"
    if (dataset.size or 0) * dataset.dtype.itemsize > allowance:
        return f"claims {dataset.size} values, more than the file can hold"
    return ""


def _check_anndata(file: h5py.File, path: Path) -> None:
    """Refuse other kinds of HDF5 files, naming the kind if it is known."""
    tables = [isinstance(file.get(name), h5py.Group) for name in ("obs", "var")]
    if not all(tables):
        raise CohortError(f"{str(path)!r} {_kind(file)}", hint=_HINT)
    version = attribute(file, "encoding-version")
    if attribute(file, "encoding-type") not in {"anndata", None} or version not in _ROOT_VERSIONS:
        kind = f"{attribute(file, 'encoding-type')} {version}"
        problem = f"{str(path)!r} is encoded as {kind!r}, expected 'anndata 0.1.0'"
        raise CohortError(problem, hint=NEWER)


def _kind(file: h5py.File) -> str:
    """Name the kind of an HDF5 file that lacks the tables of AnnData."""
    if attribute(file, keys.FORMAT) == keys.BAG_FORMAT or {"features", "feats"} & set(file):
        return "is a feature file (the bag of one slide), not a cohort"
    if {"matrix", "row_attrs", "col_attrs"} <= set(file):
        return "is a loom file, not an AnnData file"
    if {"obs", "var"} <= set(file):
        return "was written by anndata before 0.7, whose tables are no longer read"
    lacking = [name for name in ("obs", "var") if name not in file]
    return f"is not an AnnData file: it has no {' and no '.join(map(repr, lacking))}"
