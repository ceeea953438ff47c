#!/usr/bin/env python3
"""Simulate a cohort of contiguous bags whose tissue structure is known.

    python examples/simulate_long_bags.py simulated/ --cases 300 --seed 0
    python examples/simulate_long_bags.py no-neighbours/ --cases 300 --seed 0 --shuffle-patches

Writes genes.h5ad, features/ (one bag per case) and regions.npz (the kind of tissue of each patch,
to examine what a model attends to; never its input). The cohort tests when masked patch modeling
helps, which real cohorts with short bags leave open: it must help here if it learns from the
neighbours of a patch what the patch alone does not show.

A slide is a sequence of regions of 15 to 45 patches, each of one kind of tissue. A patch is the sum
of the centre of its kind, a vector of its region, and its own noise: some in every direction, and
much in a few, like variation of stain and focus. Neighbours share an eighth of the variance. The
classes differ in the number of regions of one rare kind. It has two opposite forms, so that the
mean of a bag says nothing about the class. Neither do the genes.

With --shuffle-patches, the patches of each bag are in random order: the same patches, but the
neighbours of a patch are not informative.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin.storage.bags import BagWriter

N_KINDS, FEATURE_DIM, N_GENES = 5, 64, 20
N_LOUD = 8
REGION = (15, 45)
RARE_REGIONS = {"common": 2, "rare": 7}
"""Regions of the rare kind per slide, of about 25 regions."""

CENTRE, OWN, NOISE, LOUD = 3.0, 0.3, 1.0, 2.0
"""Length of a centre; standard deviations of region vectors, patch noise and loud directions."""


def main() -> None:
    """Write the cohort."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--patches", type=int, nargs=2, default=(650, 900))
    parser.add_argument("--shuffle-patches", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rng, order_rng = np.random.default_rng(args.seed).spawn(2)
    (args.out / "features").mkdir(parents=True, exist_ok=True)
    common = CENTRE * rng.normal(size=(N_KINDS, FEATURE_DIM)) / np.sqrt(FEATURE_DIM)
    rare = CENTRE * rng.normal(size=FEATURE_DIM) / np.sqrt(FEATURE_DIM)
    centres = np.vstack([common - common.mean(0), rare, -rare])
    loud = LOUD * np.linalg.qr(rng.normal(size=(FEATURE_DIM, N_LOUD)))[0].T
    names = [f"case{number:03d}" for number in range(args.cases)]
    labels = [list(RARE_REGIONS)[number % 2] for number in range(args.cases)]
    regions = {}
    for name, label in zip(names, labels, strict=True):
        n_patches = int(rng.integers(*args.patches))
        kinds, features = slide(n_patches, RARE_REGIONS[label], centres, loud, rng)
        if args.shuffle_patches:
            order = order_rng.permutation(n_patches)
            kinds, features = kinds[order], features[order]
        regions[name] = kinds
        row = np.arange(n_patches)
        coords = 256 * np.stack([row % 32, row // 32], axis=1)
        path = args.out / "features" / f"{name}.h5"
        with BagWriter(path, dim=FEATURE_DIM, attributes={"encoder": "simulated"}) as writer:
            writer.append(features.astype(np.float16), coords.astype(np.int32))
    fold = np.arange(args.cases) // 2 % 5
    cohort = anndata.AnnData(
        rng.normal(size=(args.cases, N_GENES)).astype(np.float32),
        obs=pd.DataFrame({"label": labels, "fold": fold}, index=names),
    )
    cohort.var_names = [f"gene{number:02d}" for number in range(N_GENES)]
    cohort.uns["gimp"] = {"scale": "standardised"}
    cohort.write_h5ad(args.out / "genes.h5ad")
    np.savez_compressed(args.out / "regions.npz", **regions)
    print(f"{args.cases} cases, {sum(map(len, regions.values()))} patches in {args.out}")


def slide(
    n_patches: int,
    n_rare: int,
    centres: NDArray[np.float64],
    loud: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Draw a slide; the last two centres are the forms of the rare kind.

    Rare regions are drawn among the first ones, which certainly fit, so that none is cut off.

    Returns
    -------
    tuple
        Kind of each patch, and the patches' features.
    """
    n_regions = n_patches // REGION[0] + 1
    kind_of = rng.integers(N_KINDS, size=n_regions)
    places = rng.permutation(n_patches // REGION[1])[:n_rare]
    kind_of[places] = N_KINDS + rng.integers(2, size=len(places))
    lengths = rng.integers(REGION[0], REGION[1] + 1, size=n_regions)
    region = np.repeat(np.arange(n_regions), lengths)[:n_patches]
    own = OWN * rng.normal(size=(n_regions, FEATURE_DIM))
    noise = NOISE * rng.normal(size=(n_patches, FEATURE_DIM))
    noise += rng.normal(size=(n_patches, N_LOUD)) @ loud
    return kind_of[region].astype(np.int8), (centres[kind_of] + own)[region] + noise


if __name__ == "__main__":
    main()
