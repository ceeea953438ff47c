"""An AnnData file as a source, to be cleaned or renamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from gimp_plugin import keys
from gimp_plugin.cohort.container import attribute, opened_cohort
from gimp_plugin.cohort.importing.genes import GENE_ID
from gimp_plugin.cohort.importing.source import Source, reader_of
from gimp_plugin.cohort.matrix import read_matrix
from gimp_plugin.cohort.scales import SCALES
from gimp_plugin.errors import CohortError


def anndata_source(path: Path, *, layer: str | None = None) -> Source:
    """Read cases, genes and one matrix; names may be repeated and values missing.

    Other matrices, `obsm` and `uns` are not read, except for the declared scale.

    Parameters
    ----------
    path
        The .h5ad file.
    layer
        Layer to use instead of X.

    Returns
    -------
    The source, its values in memory.

    Raises
    ------
    CohortError
        If it is damaged, not a cohort, or a feature file.
    """
    with opened_cohort(path) as file:
        obs, var = _table(file, "obs"), _table(file, "var")
        if not (len(obs) and len(var)):
            raise CohortError(f"{str(path)!r} has {len(obs)} cases and {len(var)} genes")
        values = read_matrix(file, (len(obs), len(var)), layer=layer)
        scale = _scale(file) if layer is None else None
    genes = pd.DataFrame({GENE_ID: _names(var)}, dtype=object)
    for column in var.columns:
        if column != GENE_ID:
            genes[str(column)] = _plain(var[column])
    cases = pd.DataFrame(
        {str(name): _plain(obs[name]) for name in obs.columns}, index=range(len(obs))
    )
    return Source(
        format="h5ad",
        where=repr(str(path)) if layer is None else f"layer {layer!r} of {str(path)!r}",
        files=(path,),
        sample_ids=tuple(_names(obs)),
        genes=genes,
        read=reader_of(values),
        obs=cases,
        scale=scale,
        label_key=keys.LABEL if keys.LABEL in cases else None,
    )


def _table(file: h5py.File, name: str) -> pd.DataFrame:
    """Read `obs` or `var`."""
    from anndata.io import read_elem

    try:
        return read_elem(file[name])
    except Exception as error:  # anndata's class for unknown encodings is private
        kind = (
            f"{attribute(file[name], 'encoding-type')} {attribute(file[name], 'encoding-version')}"
        )
        problem = f"{name!r} of {file.filename!r} cannot be read (encoded as {kind!r})"
        raise CohortError(problem, hint="damaged, or written by a newer anndata") from error


def _scale(file: h5py.File) -> str | None:
    """Scale that the file declares, if it is a known one."""
    element = file.get(f"uns/{keys.UNS}/{keys.SCALE}")
    if not isinstance(element, h5py.Dataset) or element.shape != ():
        return None
    value = element[()]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if text in SCALES else None


def _names(table: pd.DataFrame) -> list[str]:
    """Names of the rows as text, empty if there is none."""
    return ["" if pd.isna(name) else str(name) for name in table.index.tolist()]


def _plain(column: pd.Series) -> list[Any]:
    """Cells as plain values: categories become their values, missing cells None."""
    return [None if pd.isna(cell) else cell for cell in column.tolist()]
