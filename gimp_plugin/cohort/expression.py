"""Reading a cohort: genes of cases, from an AnnData file that is checked once, here."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.container import attribute, opened_cohort
from gimp_plugin.cohort.labels import labels_of as labels_of  # noqa: PLC0414
from gimp_plugin.cohort.matrix import read_matrix
from gimp_plugin.cohort.scales import SCALES
from gimp_plugin.cohort.values import Table, check_finite, resolve_scale
from gimp_plugin.errors import CohortError, ConfigError, did_you_mean, listed

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_REMEDY = {
    "obs": "keep one row a case, or make the names unique",
    "var": "add up or leave out the repeated genes",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Cohort:
    """Expression of a cohort's cases, as its file gives it.

    Parameters
    ----------
    path
        The file.
    case_ids, gene_ids
        Names of the rows and the columns of `values`, each unique.
    values
        Finite expression values, shape (case, gene), on the scale of the file.
    scale
        One of `cohort.scales.SCALES`.
    scale_guessed
        Whether neither the user nor the file told the scale.
    obs
        What else is known of the cases; its index is `case_ids`.
    warnings
        What the user was warned of.
    """

    path: Path
    case_ids: tuple[str, ...]
    gene_ids: tuple[str, ...]
    values: NDArray[np.float32]
    scale: str
    scale_guessed: bool
    obs: pd.DataFrame
    warnings: tuple[str, ...] = ()

    def rows_of(self, case_ids: Iterable[str]) -> NDArray[np.int64]:
        """Row numbers of some cases, in their order; KeyError for a case that is not there."""
        row = {case_id: index for index, case_id in enumerate(self.case_ids)}
        return np.array([row[case_id] for case_id in case_ids], dtype=np.int64)


def read_cohort(path: Path, *, layer: str | None = None, scale: str | None = None) -> Cohort:
    """Read a cohort and refuse what cannot be trusted.

    The scale is the one given, else the one that `uns["gimp"]["scale"]` declares (for X only: a
    layer has its own scale), else it is guessed, with a warning.

    Parameters
    ----------
    path
        An AnnData file, .h5ad. It is only read.
    layer
        Layer to take instead of X.
    scale
        Scale of the values.

    Returns
    -------
    The cohort, all values in memory.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SafetyError
        If it has links or external storage, or claims more than it holds.
    CohortError
        If it is damaged or no cohort; if cases or genes are missing, unnamed or repeated; if
        values are missing, infinite, or do not go with the scale.
    ConfigError
        If `scale` is not the name of a scale.
    """
    if scale is not None and scale not in SCALES:
        problem = f"--scale {scale!r} is unknown{did_you_mean(scale, SCALES)}"
        raise ConfigError(problem, hint=f"choose from {', '.join(SCALES)}")
    with opened_cohort(path) as file:
        case_ids, gene_ids = _read_ids(file, "obs"), _read_ids(file, "var")
        values = read_matrix(file, (len(case_ids), len(gene_ids)), layer=layer)
        obs = _read_element(file, "obs")
        declared = scale or (_declared_scale(file) if layer is None else None)
    where = f"{str(path)!r}" if layer is None else f"layer {layer!r} of {str(path)!r}"
    table = Table(values=values, case_ids=case_ids, gene_ids=gene_ids, where=where)
    check_finite(table)
    found, warnings = resolve_scale(table, declared)
    for warning in warnings:
        logger.warning("%s", warning)
    obs.index = list(case_ids)
    return Cohort(
        path=path,
        case_ids=case_ids,
        gene_ids=gene_ids,
        values=values,
        scale=found,
        scale_guessed=declared is None,
        obs=obs,
        warnings=tuple(warnings),
    )


def _read_ids(file: h5py.File, table: str) -> tuple[str, ...]:
    """Names of the cases or the genes: some, none empty, none twice."""
    noun = {"obs": "cases", "var": "genes"}[table]
    index = attribute(file[table], "_index")
    if not isinstance(index, str) or index not in file[table]:
        raise CohortError(f"{file.filename!r}: {table!r} has no index with the names of the {noun}")
    found = _read_element(file, f"{table}/{index}")
    ids = tuple("" if name is None or name != name else str(name) for name in found)  # noqa: PLR0124
    where = f"{table}_names of {file.filename!r}"
    if not ids:
        raise CohortError(f"{file.filename!r} has 0 {noun}", hint="give a cohort with values")
    if "" in ids:
        problem = f"{where}: entry {ids.index('')} is empty, expected a name"
        raise CohortError(problem, hint=f"name all {noun}")
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        problem = f"{where} are not unique: {len(repeated)} appear more than once: "
        raise CohortError(problem + listed(repeated), hint=_REMEDY[table])
    return ids


def _read_element(file: h5py.File, name: str) -> Any:
    """Read a table or a column by anndata; what it cannot read is named."""
    from anndata.io import read_elem  # a second that --help need not wait

    try:
        return read_elem(file[name])
    except Exception as error:  # anndata's class for unknown encodings is private
        encoding = f"{attribute(file[name], 'encoding-type')} "
        encoding += str(attribute(file[name], "encoding-version"))
        problem = f"{name!r} of {file.filename!r} cannot be read (encoded as {encoding!r})"
        hint = f"damaged, or written by a newer anndata: {_first_line(error)}"
        raise CohortError(problem, hint=hint) from error


def _declared_scale(file: h5py.File) -> str | None:
    """Scale that the file declares in `uns`, if it does."""
    place = f"uns/{keys.UNS}/{keys.SCALE}"
    if place not in file:
        return None
    scale = _read_element(file, place)
    if scale not in SCALES:
        problem = f"{file.filename!r} declares in {place!r} the unknown scale {scale!r}"
        problem += did_you_mean(str(scale), SCALES)
        raise CohortError(problem, hint=f"declare one of {', '.join(SCALES)}, or give --scale")
    return str(scale)


def _first_line(error: Exception) -> str:
    """First line of what a library says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
