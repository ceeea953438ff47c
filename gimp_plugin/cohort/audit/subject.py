"""The cohort under audit, read without the refusals of `read_cohort`: they become findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.container import attribute, opened_cohort, read_element
from gimp_plugin.cohort.label_table import joined, read_label_table
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.cohort.matrix import read_matrix
from gimp_plugin.errors import CohortError, listed

if TYPE_CHECKING:
    import pandas as pd

_BLOCK_VALUES = 1 << 21


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A cohort as stored in its file, faults included.

    Parameters
    ----------
    name
        Name of the file.
    case_ids, gene_ids
        Names of the rows and columns; they may be repeated or empty.
    values
        Expression, shape (case, gene); it may hold NaN.
    obs
        What else is known of the cases, one row each.
    declared
        Scale that the user or the file names, unchecked.
    label_key
        Column of `obs` with the classes.
    """

    name: str
    case_ids: tuple[str, ...]
    gene_ids: tuple[str, ...]
    values: NDArray[np.float32]
    obs: pd.DataFrame
    declared: str | None = None
    label_key: str = keys.LABEL

    @cached_property
    def finite_genes(self) -> NDArray[np.bool_]:
        """Genes whose values are all finite."""
        found = np.empty(len(self.gene_ids), dtype=bool)
        for genes, block in self.blocks():
            found[genes] = np.isfinite(block).all(axis=0)
        return found

    @cached_property
    def varying_genes(self) -> NDArray[np.bool_]:
        """Genes that are finite and not the same in all cases."""
        found = np.empty(len(self.gene_ids), dtype=bool)
        with np.errstate(invalid="ignore"):
            for genes, block in self.blocks():
                found[genes] = np.ptp(block, axis=0) > 0
        return found & self.finite_genes

    @cached_property
    def labels(self) -> NDArray[np.object_] | None:
        """Class of each case as text, None if it is missing; None without a column of classes."""
        if self.label_key not in self.obs.columns:
            return None
        return self.column(self.label_key)

    def column(self, name: str) -> NDArray[np.object_]:
        """Return a column of `obs` as text, with None for empty cells."""
        cells = self.obs[name].tolist()
        texts: list[Any] = [None if is_missing(cell) else text_of(cell) for cell in cells]
        return np.array(texts, dtype=object)

    def blocks(
        self, genes: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the columns of some genes and their values, a few million at a time."""
        columns = np.arange(len(self.gene_ids)) if genes is None else np.flatnonzero(genes)
        step = max(1, _BLOCK_VALUES // max(1, len(self.case_ids)))
        for start in range(0, len(columns), step):
            chosen = columns[start : start + step]
            yield chosen, self.values[:, chosen]


def read_subject(
    path: Path,
    *,
    layer: str | None = None,
    scale: str | None = None,
    label_key: str = keys.LABEL,
    labels: Path | None = None,
    case_key: str = keys.CASE_ID,
) -> Subject:
    """Read a cohort for an audit.

    Parameters
    ----------
    path
        An AnnData file, .h5ad. It is only read.
    layer
        Layer to use instead of X.
    scale
        Scale of the values, if the user names it.
    label_key
        Column of `obs`, or of the table, with the classes.
    labels, case_key
        A separate table of cases, and its column with the case ids.

    Returns
    -------
    The cohort, with whatever is wrong with its values and names.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SafetyError
        If it has links or external storage, or claims more than it holds.
    CohortError
        If it or the table cannot be read at all: damaged, not a cohort, no cases or genes, no
        such layer.
    """
    with opened_cohort(path) as file:
        case_ids, gene_ids = _names(file, "obs"), _names(file, "var")
        values = read_matrix(file, (len(case_ids), len(gene_ids)), layer=layer)
        obs = read_element(file, "obs").set_axis(list(case_ids), axis=0)
        declared = scale or (_declared(file) if layer is None else None)
    if labels is not None:
        obs = _with_table(obs, labels, label_key=label_key, case_key=case_key)
    obs = obs.reset_index(drop=True)
    return Subject(
        name=path.name,
        case_ids=case_ids,
        gene_ids=gene_ids,
        values=values,
        obs=obs,
        declared=declared,
        label_key=label_key,
    )


def _with_table(obs: pd.DataFrame, path: Path, *, label_key: str, case_key: str) -> pd.DataFrame:
    """Add what a separate table says of the cases."""
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()]
        problem = f"{str(path)!r} cannot join cases that are not unique: {listed(twice)}"
        raise CohortError(problem, hint="check without --labels first")
    table = read_label_table(path, label_key=label_key, case_key=case_key)
    return joined(obs, table, label_key=label_key, where=repr(str(path))).loc[list(obs.index)]


def _names(file: h5py.File, table: str) -> tuple[str, ...]:
    """Names of the cases or the genes; a missing one is empty text."""
    index = attribute(file[table], "_index")
    if not isinstance(index, str) or index not in file[table]:
        raise CohortError(f"{file.filename!r}: {table!r} has no index", hint="name its rows")
    cells = read_element(file, f"{table}/{index}")
    names = tuple("" if is_missing(cell) else str(cell) for cell in cells)
    if not names:
        noun = {"obs": "cases", "var": "genes"}[table]
        raise CohortError(f"{file.filename!r} has 0 {noun}", hint="give a cohort with values")
    return names


def _declared(file: h5py.File) -> str | None:
    """Scale that the file declares, unchecked."""
    place = f"uns/{keys.UNS}/{keys.SCALE}"
    return str(read_element(file, place)) if place in file else None
