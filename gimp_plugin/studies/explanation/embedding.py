"""Embeddings of all cases in one AnnData, and two-dimensional pictures of them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.writing import write_anndata
from gimp_plugin.storage.tables import write_csv
from gimp_plugin.studies.explanation.inputs import Inputs
from gimp_plugin.studies.explanation.plots import scatter, write_figure
from gimp_plugin.studies.explanation.tables import Results, own_evidence

if TYPE_CHECKING:
    import anndata

logger = logging.getLogger(__name__)

FILE = "embeddings.h5ad"
POINTS = "embeddings.csv"
PANELS = ("label", "split", "error", "site")
"""Properties that cases are coloured by, as far as known."""
TSNE, UMAP = "tsne", "umap"
LEAST_CASES = 5
PERPLEXITY, NEIGHBOURS = 30, 15


def write_embeddings(
    folder: Path,
    results: Results,
    inputs: Inputs,
    *,
    kinds: Sequence[str],
    site_key: str,
    seed: int,
) -> None:
    """Write `embeddings.h5ad`, a picture of each kind, and a table of its points.

    Parameters
    ----------
    folder
        Folder to write to.
    results, inputs
        The cases.
    kinds
        Any of `tsne` and `umap`.
    site_key
        Column of the cohort with the hospital of each case; empty for none.
    seed
        Seed of the pictures.
    """
    import anndata

    obs = _obs(results, inputs, site_key=site_key)
    values = np.stack([result.embedding for _, result in results])
    adata = anndata.AnnData(obs=obs, obsm={keys.OBSM: values})
    if len(results) >= LEAST_CASES:
        for kind in kinds:
            project(adata, kind, seed=seed)
    elif kinds:
        logger.warning("fewer than %d cases: no picture of the embedding", LEAST_CASES)
    write_anndata(
        folder / FILE,
        np.empty((len(obs), 0), np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index([], dtype=object)),
        uns={keys.UNS: {"embedding": "what the head reads"}},
        obsm={name: np.asarray(array) for name, array in adata.obsm.items()},
    )
    columns = {name: obs[name].tolist() for name in PANELS if name in obs}
    drawn = {
        kind: np.asarray(adata.obsm[f"X_{kind}"]) for kind in kinds if f"X_{kind}" in adata.obsm
    }
    for kind, points in drawn.items():
        write_figure(folder / f"embedding_{kind}", scatter(points, columns, title=kind))
    if drawn:
        _write_points(folder / POINTS, obs, drawn)


def _write_points(path: Path, obs: pd.DataFrame, drawn: Mapping[str, NDArray[np.floating]]) -> None:
    """Write the points of the pictures as a table, one row per case."""
    table = obs.rename_axis("case_id").reset_index()
    for kind, points in drawn.items():
        for axis in range(2):
            table[f"{kind}_{axis + 1}"] = points[:, axis].astype(float)
    write_csv(path, table.to_dict("records"), columns=list(table))


def _obs(results: Results, inputs: Inputs, *, site_key: str) -> pd.DataFrame:
    """Table of what is known about each case."""
    ids = [case.case_id for case, _ in results]
    labels = [inputs.study.labels.get(case_id, "") for case_id in ids]
    predicted = [inputs.classes[int(own_evidence(one).argmax())] for _, one in results]
    outcome = [
        "unknown" if not label else ("right" if label == guess else "wrong")
        for label, guess in zip(labels, predicted, strict=True)
    ]
    columns = {
        "label": labels,
        "split": [inputs.parts[case_id] for case_id in ids],
        "error": outcome,
        "predicted": predicted,
    }
    if site_key:
        sites = inputs.study.obs[site_key].reindex(ids)
        columns["site"] = ["" if pd.isna(site) else str(site) for site in sites]
    return pd.DataFrame(columns, index=ids)


def project(adata: anndata.AnnData, kind: str, *, seed: int) -> None:
    """Project an embedding to two dimensions by scanpy; torch keeps its number of threads.

    Parameters
    ----------
    adata
        At least two cases with an embedding in `obsm["X_gimp"]`; `obsm["X_<kind>"]` is added.
    kind
        `tsne` or `umap`.
    seed
        Seed of the projection.
    """
    import scanpy

    with threads_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap warns that a seed disables its threads
        if kind == TSNE:
            perplexity = min(PERPLEXITY, (adata.n_obs - 1) / 3)
            scanpy.tl.tsne(adata, use_rep=keys.OBSM, perplexity=perplexity, random_state=seed)
            return
        neighbours = min(NEIGHBOURS, adata.n_obs - 1)
        scanpy.pp.neighbors(adata, use_rep=keys.OBSM, n_neighbors=neighbours, random_state=seed)
        scanpy.tl.umap(
            adata, random_state=seed, init_pos="spectral" if adata.n_obs > 15 else "random"
        )


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restore torch's number of threads, because numba, used by UMAP, sets that of OpenMP.

    Yields
    ------
    Nothing.
    """
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
