"""Reading a cohort, the genes of cases, from an AnnData file; all its checks are made here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.container import NEWER, attribute, opened_cohort, read_element
from gimp_plugin.cohort.labels import labels_of as labels_of  # noqa: PLC0414  # re-exported
from gimp_plugin.cohort.matrix import read_matrix
from gimp_plugin.cohort.names import GENE_COLUMNS, NOUN, check_one_kind, checked_names
from gimp_plugin.cohort.scales import SCALES
from gimp_plugin.cohort.values import Table, check_finite, resolve_scale
from gimp_plugin.errors import CohortError, ConfigError, did_you_mean

if TYPE_CHECKING:
    import anndata
    import pandas as pd

logger = logging.getLogger(__name__)

_TABLE_VERSIONS = ("0.2.0", "0.1.0", None)

IN_MEMORY = Path("AnnData")
"""Path of a cohort without a file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cohort:
    """Expression of a cohort's cases, as stored in its file.

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
        Whether neither the user nor the file declared the scale.
    obs
        What else is known of the cases; its index is `case_ids`.
    genes
        What else is known of the genes (`cohort.names.GENE_COLUMNS`); its index is `gene_ids`.
    warnings
        Warnings given to the user.
    """

    path: Path
    case_ids: tuple[str, ...]
    gene_ids: tuple[str, ...]
    values: NDArray[np.float32]
    scale: str
    scale_guessed: bool
    obs: pd.DataFrame
    genes: pd.DataFrame
    warnings: tuple[str, ...] = ()

    def rows_of(self, case_ids: Iterable[str]) -> NDArray[np.int64]:
        """Row numbers of the given cases, in the given order; KeyError for an unknown case."""
        row = {case_id: index for index, case_id in enumerate(self.case_ids)}
        return np.array([row[case_id] for case_id in case_ids], dtype=np.int64)

    @classmethod
    def without_genes(cls, path: Path, obs: pd.DataFrame) -> Self:
        """Make a cohort of cases that have no expression.

        Parameters
        ----------
        path
            Where the cases come from, for messages.
        obs
            What is known of the cases; its index is the case ids.

        Returns
        -------
        The cohort, of 0 genes and no scale.
        """
        import pandas as pd

        return cls(
            path=path,
            case_ids=tuple(map(str, obs.index)),
            gene_ids=(),
            values=np.empty((len(obs), 0), dtype=np.float32),
            scale="",
            scale_guessed=False,
            obs=obs,
            genes=pd.DataFrame(),
        )

    @classmethod
    def from_anndata(
        cls, adata: anndata.AnnData, *, layer: str | None = None, scale: str | None = None
    ) -> Cohort:
        """Make a cohort from an AnnData in memory, by the same rules as from a file.

        Parameters
        ----------
        adata
            Cases by genes. It is only read.
        layer
            Layer to use instead of X.
        scale
            Scale of the values; by default the one `uns["gimp"]["scale"]` declares for X, else
            guessed.

        Returns
        -------
        The cohort; `path` is `AnnData`.

        Raises
        ------
        CohortError
            As for `read_cohort`.
        ConfigError
            If `scale` is not the name of a scale.
        """
        from scipy.sparse import issparse

        _check_scale_name(scale)
        path = IN_MEMORY
        case_ids = checked_names(adata.obs_names, table="obs", path=str(path))
        gene_ids = checked_names(adata.var_names, table="var", path=str(path))
        layers = [name for name in adata.layers if name]  # since anndata 0.13, None is X
        if layer is not None and layer not in layers:
            problem = f"the AnnData has no layer {layer!r}{did_you_mean(layer, layers)}"
            raise CohortError(problem, hint=f"it has {', '.join(layers) or 'none'}")
        values = adata.X if layer is None else adata.layers[layer]
        if values is None:
            raise CohortError("the AnnData has no X", hint="give layer=")
        values = np.asarray(values.toarray() if issparse(values) else values)
        if values.dtype.kind not in "fiu":
            hint = "give adata.to_memory()" if adata.isbacked else None
            raise CohortError(f"the AnnData holds {values.dtype}, expected numbers", hint=hint)
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        told = adata.uns.get(keys.UNS, {})
        if not isinstance(told, Mapping):
            problem = f"uns[{keys.UNS!r}] of the AnnData is {told!r:.40}, expected a dictionary"
            raise CohortError(problem, hint="store that value under another key")
        declared = scale or (told.get(keys.SCALE) if layer is None else None)
        _check_scale_name(declared)
        where = "the AnnData" if layer is None else f"layer {layer!r} of the AnnData"
        known = [name for name in GENE_COLUMNS if name in adata.var]
        table = Table(values=values, case_ids=case_ids, gene_ids=gene_ids, where=where)
        return _checked(
            table, path=path, obs=adata.obs.copy(), genes=adata.var[known].copy(), declared=declared
        )


def read_cohort(path: Path, *, layer: str | None = None, scale: str | None = None) -> Cohort:
    """Read a cohort, refusing what cannot be trusted.

    The scale is the given one, else the one that `uns["gimp"]["scale"]` declares (for X only: a
    layer has its own scale); otherwise it is guessed, with a warning.

    Parameters
    ----------
    path
        An AnnData file, .h5ad. It is only read.
    layer
        Layer to use instead of X.
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
        If it is damaged or not a cohort; if cases or genes are missing, unnamed or repeated; if
        values are missing, infinite, or impossible on the scale.
    ConfigError
        If `scale` is not the name of a scale.
    """
    _check_scale_name(scale)
    with opened_cohort(path) as file:
        case_ids, gene_ids = _read_ids(file, "obs"), _read_ids(file, "var")
        values = read_matrix(file, (len(case_ids), len(gene_ids)), layer=layer)
        obs, genes = read_element(file, "obs"), _read_genes(file, gene_ids)
        declared = scale or (_declared_scale(file) if layer is None else None)
    where = f"{str(path)!r}" if layer is None else f"layer {layer!r} of {str(path)!r}"
    table = Table(values=values, case_ids=case_ids, gene_ids=gene_ids, where=where)
    return _checked(table, path=path, obs=obs, genes=genes, declared=declared)


def _checked(
    table: Table, *, path: Path, obs: pd.DataFrame, genes: pd.DataFrame, declared: str | None
) -> Cohort:
    """Make a cohort, checking that its values are finite and on a known scale."""
    check_one_kind(table.gene_ids, str(path))
    check_finite(table)
    scale, warnings = resolve_scale(table, declared)
    for warning in warnings:
        logger.warning("%s", warning)
    obs.index, genes.index = list(table.case_ids), list(table.gene_ids)
    return Cohort(
        path=path,
        case_ids=tuple(table.case_ids),
        gene_ids=tuple(table.gene_ids),
        values=table.values,
        scale=scale,
        scale_guessed=declared is None,
        obs=obs,
        genes=genes,
        warnings=tuple(warnings),
    )


def _check_scale_name(scale: str | None) -> None:
    """Refuse a scale that does not exist."""
    if scale is not None and scale not in SCALES:
        problem = f"--scale {scale!r} is unknown{did_you_mean(scale, SCALES)}"
        raise ConfigError(problem, hint=f"choose from {', '.join(SCALES)}")


def _read_ids(file: h5py.File, table: str) -> tuple[str, ...]:
    """Names of the cases or the genes."""
    version = attribute(file[table], "encoding-version")
    if version not in _TABLE_VERSIONS:
        problem = f"{table!r} of {file.filename!r} is encoded as {f'dataframe {version}'!r}"
        raise CohortError(problem, hint=NEWER)
    index = attribute(file[table], "_index")
    if not isinstance(index, str) or index not in file[table]:
        noun = NOUN[table]
        raise CohortError(f"{file.filename!r}: {table!r} has no index with the names of the {noun}")
    return checked_names(
        read_element(file, f"{table}/{index}"), table=table, path=str(file.filename)
    )


def _read_genes(file: h5py.File, gene_ids: Sequence[str]) -> pd.DataFrame:
    """Read the known columns of `var`."""
    import pandas as pd

    columns = {
        name: np.asarray(read_element(file, f"var/{name}"))
        for name in GENE_COLUMNS
        if name in file["var"]
    }
    return pd.DataFrame(columns, index=list(gene_ids))


def _declared_scale(file: h5py.File) -> str | None:
    """Scale that the file declares in `uns`, if any."""
    place = f"uns/{keys.UNS}/{keys.SCALE}"
    if place not in file:
        return None
    scale = read_element(file, place)
    if scale not in SCALES:
        problem = f"{file.filename!r} declares in {place!r} the unknown scale {scale!r}"
        problem += did_you_mean(str(scale), SCALES)
        raise CohortError(problem, hint=f"declare one of {', '.join(SCALES)}, or give --scale")
    return str(scale)
