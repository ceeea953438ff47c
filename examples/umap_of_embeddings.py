#!/usr/bin/env python3
"""Draw a UMAP of patients with scanpy, from the genes alone and from a run's embeddings.

    python examples/umap_of_embeddings.py genes.h5ad runs/finetune umap.png --features features/

The cohort is the one that the run was trained on, or another on the same scale, not yet normalised.
Left: scanpy's usual steps from the genes. Right: the same from the run's embeddings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import scanpy as sc

from gimp_plugin.prediction import embed

LINEAR = {"counts", "fpkm", "fpkm-uq", "tpm", "linear"}


def main() -> None:
    """Embed the cases of a cohort, lay them out by UMAP and save a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adata", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--label-key", default="label")
    args = parser.parse_args()
    mpl.use("Agg")

    # 1: what the run makes of the cases
    adata = sc.read_h5ad(args.adata)
    embed(adata, args.run, features=args.features)  # before X is changed: adds obsm["X_gimp"]
    # 2: as usual
    if adata.uns["gimp"]["scale"] in LINEAR:
        sc.pp.normalize_total(adata, target_sum=1e6)
        sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=min(2000, adata.n_vars))
    sc.pp.pca(adata, n_comps=min(50, adata.n_vars - 1, adata.n_obs - 1), random_state=0)
    # 3: neighbours and layout
    for basis in ("X_pca", "X_gimp"):
        sc.pp.neighbors(adata, n_neighbors=10, use_rep=basis, key_added=basis, random_state=0)
        sc.tl.umap(adata, neighbors_key=basis, key_added=f"{basis}_umap", random_state=0)
    # 4: the figure
    draw(adata, args.figure, label_key=args.label_key)


def draw(adata: sc.AnnData, figure: Path, *, label_key: str) -> None:
    """Save both layouts side by side, coloured by class."""
    from matplotlib import pyplot as plt

    canvas, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    titles = {"X_pca": "genes, PCA", "X_gimp": 'run, obsm["X_gimp"]'}
    for axis, (basis, title) in zip(axes, titles.items(), strict=True):
        last = axis is axes[-1]
        sc.pl.embedding(
            adata,
            basis=f"{basis}_umap",
            color=label_key,
            title=title,
            legend_loc="right margin" if last else "none",
            ax=axis,
            show=False,
        )
        axis.set(xlabel="UMAP 1", ylabel="UMAP 2")
    canvas.savefig(figure, dpi=150)
    plt.close(canvas)
    print(f"{figure}: {adata.n_obs} cases, {adata.obsm['X_gimp'].shape[1]} dimensions")


if __name__ == "__main__":
    main()
