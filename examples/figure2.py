#!/usr/bin/env python3
"""Draw CLS_pat of the runs of a comparison after pre-training, as the paper's Figure 2 does.

    gimp benchmark ... --methods gimp,gimp-slides,biovil,mgca,gimp-none -o study/
    python examples/figure2.py study/ -o figure2.svg --fold 0

Each finished method has one row: its training cases on the left, its held-out cases on the right,
in one common layout (t-SNE or UMAP). A CSV file beside the picture has the silhouette of the
classes among the held-out cases, and the share of held-out cases whose class is that of most of
their nearest training cases. Both are computed from CLS_pat itself, not from the layout, because a
layout may show clusters that do not exist.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from urllib.parse import quote

import anndata
import matplotlib as mpl
import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from gimp_plugin.keys import TEST, TRAIN
from gimp_plugin.prediction import embed
from gimp_plugin.storage.runs import read_run
from gimp_plugin.storage.tables import read_csv, write_csv

PANELS = {
    "gimp": ("pretrain", "GiMP, pre-trained"),
    "gimp-slides": ("pretrain", "GiMP without genes, pre-trained"),
    "biovil": ("pretrain", "BioViL, pre-trained"),
    "mgca": ("pretrain", "MGCA, pre-trained"),
    "gimp-none": ("finetune", "GiMP from scratch, after fine-tuning"),
}
"""By method: the stage whose run is drawn, and the title of the panel."""

LAYOUTS = {"tsne": "t-SNE", "umap": "UMAP"}
PARTS = {TRAIN: "training cases", TEST: "held-out cases"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's
MARKERS = "o^sDvP"
COLUMNS = ("method", "run", "n_train", "n_test", "silhouette", "knn_accuracy", "k")


def main() -> None:
    """Embed the cases of a fold by each run, draw them, and print how well the classes separate."""
    args = parsed()
    mpl.use("Agg")
    panels = {}
    for method, (stage, title) in PANELS.items():
        cell = f"fold-{quote(args.fold, safe='')}-seed-{args.seed}"
        run = args.study / "cells" / method / cell / stage
        if not (run / "model.safetensors").exists():
            print(f"{method}: {str(run)!r} is not done, left out", file=sys.stderr)
            continue
        panels[method] = {"title": title, "stage": stage, **embedded(run, args)}
    if not panels:
        sys.exit(f"{str(args.study)!r} has no run of {', '.join(PANELS)} on fold {args.fold!r}")
    rows = [{"method": name, "run": one["stage"], **one["scores"]} for name, one in panels.items()]
    write_csv(args.output.with_suffix(".csv"), rows, columns=COLUMNS)
    draw(panels, args)
    for row in rows:
        print("  ".join(f"{name} {row[name]}" for name in COLUMNS))


def embedded(run: Path, args: argparse.Namespace) -> dict:
    """Layout of CLS_pat of the training and held-out cases, their parts and labels, the scores."""
    source = read_run(run).source
    adata = anndata.read_h5ad(args.adata or source["adata"])
    known = {row["case_id"]: row for row in read_csv(run.parent / "predictions.csv")}
    shown = {case for case, row in known.items() if row["split"] in PARTS and row["label"]}
    adata = adata[[case in shown for case in adata.obs_names]].copy()
    embed(adata, run, features=args.features, layer=source["layer"], scale=source["scale"])
    values = adata.obsm["X_gimp"]
    part, label = (
        np.array([known[case][name] for case in adata.obs_names]) for name in ("split", "label")
    )
    train, test = part == TRAIN, part == TEST
    nearest = KNeighborsClassifier(min(args.k, train.sum())).fit(values[train], label[train])
    scores = {
        "n_train": int(train.sum()),
        "n_test": int(test.sum()),
        "silhouette": round(float(silhouette_score(values[test], label[test])), 3),
        "knn_accuracy": round(float(nearest.score(values[test], label[test])), 3),
        "k": nearest.n_neighbors,
    }
    return {"places": laid_out(values, args), "part": part, "label": label, "scores": scores}


def laid_out(values: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """Two coordinates per case."""
    if args.layout == "tsne":
        perplexity = min(30.0, (len(values) - 1) / 3)
        return TSNE(perplexity=perplexity, random_state=args.seed).fit_transform(values)
    import scanpy as sc

    adata = anndata.AnnData(values)
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="X", random_state=args.seed)
    sc.tl.umap(adata, random_state=args.seed)
    return adata.obsm["X_umap"]


def draw(panels: dict, args: argparse.Namespace) -> None:
    """Save a row of two panels for each method."""
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "gimp"  # the same bytes each time
    size = (7.0, 2.9 * len(panels))
    canvas, axes = plt.subplots(
        len(panels), 2, figsize=size, layout="constrained", squeeze=False, sharex="row",
        sharey="row",
    )  # fmt: skip
    for row, one in zip(axes, panels.values(), strict=True):
        for axis, (part, name) in zip(row, PARTS.items(), strict=True):
            scatter(axis, one, part)
            axis.set_title(f"{one['title']}: {name}", fontsize=8)
        row[0].set_ylabel(f"{LAYOUTS[args.layout]} 2", fontsize=8)
        scores = one["scores"]
        text = f"held out: silhouette {scores['silhouette']:.2f}, "
        text += f"{scores['k']}-NN accuracy {scores['knn_accuracy']:.2f} (n = {scores['n_test']})"
        row[1].set_xlabel(text, fontsize=8)
        row[0].set_xlabel(f"{LAYOUTS[args.layout]} 1", fontsize=8)
    axes[0, 0].legend(fontsize=8)
    metadata = {"Date": None} if args.output.suffix == ".svg" else None
    canvas.savefig(args.output, dpi=150, metadata=metadata)
    plt.close(canvas)


def scatter(axis: mpl.axes.Axes, one: dict, part: str) -> None:
    """Draw the cases of a part, each class with its own colour and marker."""
    for place, name in enumerate(np.unique(one["label"])):
        x, y = one["places"][(one["part"] == part) & (one["label"] == name)].T
        kind = place % len(COLOURS)
        axis.scatter(
            x, y, s=18, c=COLOURS[kind], marker=MARKERS[kind], label=name, alpha=0.8, linewidths=0
        )
    axis.tick_params(labelbottom=False, labelleft=False, length=0)


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="folder that gimp benchmark wrote")
    parser.add_argument("-o", "--output", type=Path, default=Path("figure2.svg"))
    parser.add_argument("--fold", default="0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", choices=LAYOUTS, default="tsne")
    parser.add_argument("-k", type=int, default=5, help="neighbours")
    parser.add_argument("--adata", type=Path, help="cohort, if not where the runs found it")
    parser.add_argument("--features", type=Path, help="bags, if not where the runs found them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
