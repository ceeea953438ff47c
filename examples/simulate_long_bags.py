#!/usr/bin/env python3
"""Simulate a cohort of long contiguous bags whose tissue structure is known.

    python examples/simulate_long_bags.py simulated/ --cases 200 --seed 0

Writes genes.h5ad, features/ (one bag a case) and regions.npz (the kind of tissue of each patch, for
looking at what a model attends to; never its input). It asks a question that real cohorts with
short bags cannot: does masked patch modeling help where tissue comes in regions?

A slide is a sequence of regions, each of one kind of tissue. A patch is the centre of its kind,
plus what is its region's own, plus noise as large as the distance between kinds: one patch hardly
tells its kind, its neighbours together do. The classes differ in how much there is of one rare
kind, and a little in a tenth of the genes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin.storage.bags import BagWriter

CLASSES = ("common", "rare")
N_KINDS, FEATURE_DIM, N_GENES = 6, 48, 60
MEAN_REGION = 40
SHARE_OF_RARE = {"common": 0.03, "rare": 0.09}
OWN, NOISE = 0.5, 1.4
"""Standard deviations of what is a region's own and a patch's own; those of the centres are 1."""

GENE_SHIFT = 0.35
"""Difference of the classes in the informative genes, in standard deviations."""


def main() -> None:
    """Write the cohort."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--patches", type=int, nargs=2, default=(2000, 4000))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    (args.out / "features").mkdir(parents=True, exist_ok=True)
    centres = rng.normal(size=(N_KINDS, FEATURE_DIM)) / np.sqrt(FEATURE_DIM) * 3
    names = [f"case{number:03d}" for number in range(args.cases)]
    labels = [CLASSES[number % 2] for number in range(args.cases)]
    regions = {}
    for name, label in zip(names, labels, strict=True):
        n_patches = int(rng.integers(*args.patches))
        regions[name], features = slide(n_patches, SHARE_OF_RARE[label], centres, rng)
        row = np.arange(n_patches)
        coords = 256 * np.stack([row % 64, row // 64], axis=1)
        path = args.out / "features" / f"{name}.h5"
        with BagWriter(path, dim=FEATURE_DIM, attributes={"encoder": "simulated"}) as writer:
            writer.append(features.astype(np.float16), coords.astype(np.int32))
    genes = rng.normal(size=(args.cases, N_GENES))
    genes[:, : N_GENES // 10] += GENE_SHIFT * np.array([[label == "rare"] for label in labels])
    obs = pd.DataFrame({"label": labels, "fold": folds(labels, rng)}, index=names)
    cohort = anndata.AnnData(genes.astype(np.float32), obs=obs)
    cohort.var_names = [f"gene{number:02d}" for number in range(N_GENES)]
    cohort.uns["gimp"] = {"scale": "standardised"}
    cohort.write_h5ad(args.out / "genes.h5ad")
    np.savez_compressed(args.out / "regions.npz", **regions)
    print(f"{args.cases} cases, {sum(map(len, regions.values()))} patches in {args.out}")


def slide(
    n_patches: int, share: float, centres: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Kind of each patch of a slide, and the patches' features; the last kind is the rare one."""
    chances = np.array([*[(1 - share) / (N_KINDS - 1)] * (N_KINDS - 1), share])
    kinds, own = [], []
    while len(kinds) < n_patches:
        kind, length = rng.choice(N_KINDS, p=chances), rng.geometric(1 / MEAN_REGION)
        kinds += [kind] * length
        own += [rng.normal(size=FEATURE_DIM) * OWN] * length
    kind = np.array(kinds[:n_patches], np.int8)
    noise = rng.normal(size=(n_patches, FEATURE_DIM)) * NOISE
    return kind, centres[kind] + np.array(own[:n_patches]) + noise


def folds(labels: list[str], rng: np.random.Generator) -> list[int]:
    """Five folds, each class spread evenly."""
    fold = np.zeros(len(labels), int)
    for label in CLASSES:
        members = np.flatnonzero([own == label for own in labels])
        fold[rng.permutation(members)] = np.arange(len(members)) % 5
    return fold.tolist()


if __name__ == "__main__":
    main()
