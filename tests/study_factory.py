"""Random studies: a cohort and its bags, where both halves depend on the class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gimp_plugin.cli.toml import to_toml
from gimp_plugin.config import CohortSource, GimpConfig, load_preset
from gimp_plugin.storage.bags import BagWriter
from tests.cohort_factory import CLASSES, make_cohort

FEATURE_DIM = 11
TINY = {
    "model.dim": 16,
    "model.n_heads": 2,
    "model.n_landmarks": 5,
    "model.convolution_taps": 3,
    "genes.epochs": 3,
    "genes.lr": 3e-3,
    "pretrain.epochs": 2,
    "pretrain.lr": 2e-3,
    "pretrain.subsequence_length": 13,
    "finetune.epochs": 3,
    "finetune.lr": 3e-3,
    "finetune.patience": 0,
}


def tiny_config(preset: str = "recommended", **changes: Any) -> GimpConfig:
    """Load a preset at a small size; `model__dim=8` changes a value."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return load_preset(preset, TINY | named)


def settings(**changes: Any) -> str:
    """Text of a settings file for a model that trains in a second."""
    tables: dict[str, dict[str, Any]] = {}
    for name, value in (TINY | {f"model.{key}": value for key, value in changes.items()}).items():
        table, _, key = name.partition(".")
        tables.setdefault(table, {})[key] = value
    return to_toml(tables)


def make_bag(
    path: Path, n_patches: int, share: float, *, rng: np.random.Generator, **attributes: Any
) -> None:
    """Write a bag with runs of two kinds of patches, a `share` of them of the second kind."""
    kinds = rng.random(-(-n_patches // 3)).repeat(3)[:n_patches] < share
    centres = np.stack([np.linspace(-1, 1, FEATURE_DIM), np.linspace(1, -1, FEATURE_DIM)])
    features = centres[kinds.astype(int)] + 0.3 * rng.normal(size=(n_patches, FEATURE_DIM))
    coords = 256 * np.stack([np.arange(n_patches), np.zeros(n_patches)], axis=1)
    with BagWriter(path, dim=FEATURE_DIM, attributes=attributes) as writer:
        writer.append(features.astype(np.float16), coords.astype(np.int32))


def make_study(
    folder: Path,
    *,
    n_cases: int = 30,
    n_genes: int = 17,
    n_patches: tuple[int, int] = (7, 23),
    classes: tuple[str, ...] = CLASSES,
    labels: Sequence[str] | None = None,
    gene_signal: float = 2.0,
    image_signal: float = 0.6,
    obs: dict[str, Any] | None = None,
    scale: str = "log",
    seed: int = 0,
) -> CohortSource:
    """Write `genes.h5ad` and `features/` with one bag per case, named like the case.

    Parameters
    ----------
    folder
        Folder of the study.
    n_cases, n_genes, n_patches, classes, labels
        Size of the study; the classes alternate, unless `labels` names that of each case.
    gene_signal
        Distance between classes in standard deviations, in a third of the genes.
    image_signal
        Increase of the share of the second kind of patches from the first to the last class.
    obs
        More columns of the cohort.
    scale
        Scale of the expression, declared in the file.
    seed
        Seed of all draws.

    Returns
    -------
    Paths of the study.
    """
    rng = np.random.default_rng(seed)
    labels = labels or [classes[case % len(classes)] for case in range(n_cases)]
    classes, n_cases = tuple(sorted(set(labels))), len(labels)
    adata = make_cohort(
        folder / "genes.h5ad",
        n_cases=n_cases,
        n_genes=n_genes,
        classes=classes,
        labels=labels,
        scale=scale,
        declared=scale,
        signal=gene_signal,
        obs=obs,
        seed=seed,
    )
    features = folder / "features"
    features.mkdir()
    for case in range(n_cases):
        position = classes.index(labels[case]) / (len(classes) - 1) - 0.5
        share = 0.5 + image_signal * position
        size = int(rng.integers(*n_patches))
        make_bag(features / f"P{case:02d}.h5", size, share, rng=rng, encoder="untrained")
    return CohortSource(adata=adata, features=features)
