"""Results of one case, stored so that an interrupted command can resume."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.errors import GimpError
from gimp_plugin.storage.hdf5 import composed, opened

FORMAT, VERSION = "gimp.explanation.case", 2
INPUTS = "inputs_sha256"
COLUMNS, GENES = "columns", "genes"
ARRAYS = ("embedding", "evidence", "regions", "genes", "gene_error", "other_genes")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseResult:
    """Results of one case.

    Parameters
    ----------
    embedding
        Vector that the head reads, shape (dim,); empty for a system.
    evidence
        Log-odds of each class from both halves, slides, genes and neither, shape (4, class); NaN if
        the case lacks a half that is used, or the run needs one that is not.
    target
        Index of the class that is explained.
    columns
        One value per patch, by name of the score, slide after slide; empty without slides.
    regions
        Region of each patch.
    genes, gene_error
        Attribution of each gene to each class, shape (class, gene), and the completeness errors;
        empty for a case without genes.
    other_genes
        Attribution of these genes to the explained class by each other run, shape (run, gene); NaN
        for genes that the run does not read.
    metrics
        Metrics of the case, by name.
    """

    embedding: NDArray[np.float32]
    evidence: NDArray[np.float64]
    target: int
    columns: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    regions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    genes: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    gene_error: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    other_genes: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    metrics: dict[str, float] = field(default_factory=dict)


def write_case(path: Path, result: CaseResult, *, inputs: str) -> None:
    """Write a case atomically; the same values give the same bytes.

    Parameters
    ----------
    path
        The file.
    result
        The case.
    inputs
        Hash of what it was computed from.
    """
    with composed(path) as file:
        file.attrs[keys.FORMAT], file.attrs[keys.FORMAT_VERSION] = FORMAT, VERSION
        file.attrs[INPUTS] = inputs
        file.attrs["target"] = result.target
        file.attrs["metrics"] = json.dumps(result.metrics, sort_keys=True)
        for name in ARRAYS:
            _write(file, name, getattr(result, name))
        for name, values in result.columns.items():
            _write(file, f"{COLUMNS}/{name}", values)


def read_case(path: Path, *, inputs: str) -> CaseResult | None:
    """Read a stored case.

    Parameters
    ----------
    path
        The file.
    inputs
        Hash of what it must have been computed from.

    Returns
    -------
    The case; None if there is no such file, it is damaged, or was made from other inputs.
    """
    if not path.is_file():
        return None
    try:
        with opened(path) as file:
            said = [file.attrs.get(name) for name in (keys.FORMAT, keys.FORMAT_VERSION, INPUTS)]
            if said != [FORMAT, VERSION, inputs]:
                return None
            arrays = {name: file[name][()] for name in ARRAYS}
            columns = {name: part[()] for name, part in file.get(COLUMNS, {}).items()}
            metrics = json.loads(file.attrs["metrics"])
            target = int(file.attrs["target"])
    except (GimpError, OSError, KeyError, ValueError):
        return None
    return CaseResult(target=target, columns=columns, metrics=metrics, **arrays)


def _write(file: h5py.File, name: str, values: NDArray[np.generic]) -> None:
    """Write an array with a checksum."""
    kept = {"fletcher32": True, "chunks": True} if values.size else {}
    file.create_dataset(name, data=values, track_times=False, **kept)
