"""Write the small cohort of this folder with the anndata at hand."""

from __future__ import annotations

import sys

import anndata
import numpy as np
import pandas as pd


def write(path: str) -> None:
    obs = pd.DataFrame(
        {
            "label": ["LUAD", "LUSC", "LUAD", "LUSC"],
            "site": ["Köln", "B", "C", "D"],
            "age": [61.5, 70.0, np.nan, 48.0],
            "fold": [0, 1, 2, 0],
        },
        index=["P1", "P2", "P3", "P4"],
    )
    var = pd.DataFrame(
        {"gene_name": ["TP53", "EGFR", "KRAS"], "start": [7661779, 55019017, 25205246]},
        index=["ENSG00000141510", "ENSG00000146648", "ENSG00000133703"],
    )
    values = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
    uns = {"gimp": {"scale": "log2"}}
    anndata.AnnData(values, obs=obs, var=var, uns=uns).write_h5ad(path)


if __name__ == "__main__":
    write(sys.argv[1])
