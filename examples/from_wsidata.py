#!/usr/bin/env python3
"""Train on features from LazySlide: one wsidata store (zarr) per slide, without conversion.

    python examples/from_wsidata.py zarrs/ genes.h5ad study/

First, in LazySlide:

    zs.pp.find_tissues(wsi)
    zs.pp.tile_tissues(wsi, 256, mpp=0.5)
    zs.tl.feature_extraction(wsi, "uni")
    wsi.write("zarrs/SLIDE.zarr")

A store must hold the features of exactly one model. LazySlide need not be installed here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata

from gimp_plugin.config import CohortSource, Runtime, load_preset
from gimp_plugin.evaluation import evaluate
from gimp_plugin.prediction import embed, predict
from gimp_plugin.storage.bags import list_bags
from gimp_plugin.training import finetune, pretrain


def main() -> None:
    """List the stores, train on them, evaluate, and write the embeddings of the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("zarrs", type=Path)
    parser.add_argument("adata", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    zarrs, genes, out = args.zarrs, args.adata, args.output

    # 1: what is there
    for bag in list_bags(zarrs):
        print(f"{bag.slide_id}: {bag.n_patches} tiles, {bag.dim} features of {bag.encoder}")
    # 2: train and evaluate
    changes = {"model.dim": args.dim}
    changes |= {f"{stage}.epochs": args.epochs for stage in ("genes", "pretrain", "finetune")}
    config, runtime = load_preset("recommended", changes), Runtime(seed=0)
    cases = CohortSource(adata=genes, features=zarrs)
    pretrain(cases, config, output=out / "pretrain", runtime=runtime)
    finetune(cases, config, start=f"{out}/pretrain", output=out / "finetune", runtime=runtime)
    predict(out / "finetune", cases, output=out / "predictions.csv", runtime=runtime)
    print(evaluate(out / "predictions.csv", model=out / "finetune").to_markdown())
    # 3: back to scanpy
    adata = anndata.read_h5ad(genes)
    embed(adata, out / "finetune", features=zarrs)  # adds obsm["X_gimp"]
    adata.write_h5ad(out / "embedded.h5ad")
    # 4: the end


if __name__ == "__main__":
    main()
