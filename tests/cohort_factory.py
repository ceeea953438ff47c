"""Random cohorts: small AnnData files with odd sizes, cohorts in memory, and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from gimp_plugin.cohort.expression import Cohort, read_cohort
from gimp_plugin.errors import CohortError, GimpError

CLASSES = ("LUAD", "LUSC")


def draw_values(
    labels: Sequence[str], n_genes: int, *, scale: str = "log", signal: float = 2.0, seed: int = 0
) -> NDArray[np.float32]:
    """Draw expression, shape (case, gene), whose first third of the genes follows the class.

    `signal` is the distance between neighbouring classes in standard deviations. Scales: `log`
    and variants, `counts`, `fpkm` and variants, `standardised`.
    """
    generator = np.random.default_rng(seed)
    classes = sorted(set(labels))
    shift = np.array([classes.index(label) for label in labels], dtype=float)[:, None]
    informative = np.arange(n_genes) < max(1, n_genes // 3)
    standard = generator.normal(size=(len(labels), n_genes)) + signal * shift * informative
    if scale == "standardised":
        return standard.astype(np.float32)
    log_values = np.clip(8.0 + standard, 0.0, 29.0)
    if scale.startswith("log"):
        return log_values.astype(np.float32)
    linear = np.exp2(log_values)
    return (np.rint(linear) if scale == "counts" else linear + 0.25).astype(np.float32)


def make_cohort(
    path: Path,
    *,
    n_cases: int = 13,
    n_genes: int = 7,
    classes: Sequence[str] = CLASSES,
    labels: Sequence[str] | None = None,
    scale: str = "log",
    declared: str | None = None,
    values: Any = None,
    sparse: str | None = None,
    layer: str | None = None,
    case_ids: Sequence[str] | None = None,
    gene_ids: Sequence[str] | None = None,
    obs: Mapping[str, Any] | None = None,
    genes: Mapping[str, Any] | None = None,
    signal: float = 2.0,
    seed: int = 0,
) -> Path:
    """Write a cohort, `P00`, `P01`, ... by `G000`, `G001`, ..., the classes in turn.

    Parameters
    ----------
    path
        Path of the file.
    n_cases, n_genes, classes, labels
        Its size; `labels` names the class of each case and overrides `n_cases` and `classes`.
    scale, signal, seed
        As in `draw_values`.
    declared
        Scale that the file declares, if any.
    values
        Values to store instead of drawn ones.
    sparse
        `csr` or `csc` stores them sparse.
    layer
        Name of a layer to store them in; X is then empty.
    case_ids, gene_ids
        Names instead of the default ones.
    obs, genes
        More columns of the cases, besides `label`, and columns of the genes.

    Returns
    -------
    `path`.
    """
    import anndata
    import pandas as pd
    import scipy.sparse

    labels = labels or [classes[case % len(classes)] for case in range(n_cases)]
    case_ids = case_ids or [f"P{case:02d}" for case in range(len(labels))]
    gene_ids = gene_ids or [f"G{gene:03d}" for gene in range(n_genes)]
    if values is None:
        values = draw_values(labels, len(gene_ids), scale=scale, signal=signal, seed=seed)
    if sparse:
        values = getattr(scipy.sparse, f"{sparse}_matrix")(values)
    adata = anndata.AnnData(
        None if layer else values,
        obs=pd.DataFrame({"label": list(labels), **(obs or {})}, index=list(case_ids)),
        var=pd.DataFrame(dict(genes or {}), index=list(gene_ids)),
    )
    if layer:
        adata.layers[layer] = values
    if declared:
        adata.uns["gimp"] = {"scale": declared}
    path.parent.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(path)
    return path


def cohort_in_memory(
    values: Any,
    *,
    scale: str = "log",
    case_ids: Sequence[str] | None = None,
    gene_ids: Sequence[str] | None = None,
    obs: Mapping[str, Any] | None = None,
    genes: Mapping[str, Any] | None = None,
) -> Cohort:
    """Make a cohort of given values without a file."""
    import pandas as pd

    values = np.asarray(values, dtype=np.float32)
    case_ids = tuple(case_ids or (f"P{case:02d}" for case in range(values.shape[0])))
    gene_ids = tuple(gene_ids or (f"G{gene:03d}" for gene in range(values.shape[1])))
    return Cohort(
        path=Path("memory.h5ad"),
        case_ids=case_ids,
        gene_ids=gene_ids,
        values=values,
        scale=scale,
        scale_guessed=False,
        obs=pd.DataFrame(dict(obs or {}), index=list(case_ids)),
        genes=pd.DataFrame(dict(genes or {}), index=list(gene_ids)),
    )


def refusal(path: Path, kind: type[GimpError] = CohortError, **options: str) -> str:
    """Return the message of the refusal, after checking that the input is unchanged."""
    before = sha256(path.read_bytes()).hexdigest()
    with pytest.raises(kind) as caught:
        read_cohort(path, **options)
    assert sha256(path.read_bytes()).hexdigest() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert caught.value.exit_code == kind.exit_code
    assert path.name in str(caught.value)
    return str(caught.value)


def rewrite_dense(path: Path, **options: Any) -> None:
    """Store X again with other HDF5 options, for instance chunks."""
    with h5py.File(path, "r+") as file:
        values, attributes = file["X"][:], dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", data=values, **options).attrs.update(attributes)
