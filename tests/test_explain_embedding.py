"""Pictures of embeddings leave the process as it was."""

from __future__ import annotations

import anndata
import numpy as np
import torch

from gimp_plugin.studies.explanation.embedding import project


def test_torch_keeps_its_number_of_threads(monkeypatch):
    adata = anndata.AnnData(obsm={"X_gimp": np.eye(7, dtype=np.float32)})
    before = torch.get_num_threads()
    seen = []

    def take_threads(adata, **asked):
        torch.set_num_threads(before + 1)  # as numba does, whose OpenMP torch shares
        seen.append(torch.get_num_threads())

    monkeypatch.setattr("scanpy.pp.neighbors", take_threads)
    monkeypatch.setattr("scanpy.tl.umap", take_threads)

    project(adata, "umap", seed=0)

    assert seen == [before + 1, before + 1]
    assert torch.get_num_threads() == before
