"""A small fine-tuned run whose bags look like those extracted from slides."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gimp_plugin.config import CohortSource, ExtractionConfig, Runtime
from gimp_plugin.slides.extraction import extract_features
from gimp_plugin.storage.bags import BagWriter, list_bags
from gimp_plugin.training import finetune
from tests.cohort_factory import CLASSES, make_cohort
from tests.slide_factory import make_slide
from tests.study_factory import tiny_config

SIZES = {"P00-a": (900, 700), "P00-b": (600, 800), "P01": (1100, 900)}
"""Slides of cases of the cohort."""


def make_slides(folder: Path) -> dict[str, Path]:
    """Write two slides of one case and one of another."""
    paths = {name: folder / f"{name}.svs" for name in SIZES}
    for seed, (name, size) in enumerate(SIZES.items()):
        make_slide(paths[name], size, seed=seed)
    return paths


def make_run(folder: Path, **changes) -> tuple[Path, CohortSource]:
    """Fine-tune on synthetic bags; return the run and its inputs.

    Parameters
    ----------
    folder
        Folder for all files.
    **changes
        Changes of the configuration.
    """
    slides = make_slides(folder / "slides")
    config = ExtractionConfig(patch_encoder="untrained")
    extract_features([slides["P01"]], config, output=folder / "one", runtime=Runtime(device="cpu"))
    (made,) = list_bags(folder / "one")
    rng = np.random.default_rng(7)
    n_cases, features = 24, folder / "features"
    labels = [CLASSES[case % len(CLASSES)] for case in range(n_cases)]
    adata = make_cohort(
        folder / "genes.h5ad", n_cases=n_cases, n_genes=17, classes=CLASSES, labels=labels,
        scale="log", declared="log", signal=2.0, seed=3,
    )  # fmt: skip
    for case in range(n_cases):
        n_patches = int(rng.integers(5, 13))
        values = rng.normal(size=(n_patches, made.dim)) + (case % len(CLASSES))
        coords = 256 * np.stack([np.arange(n_patches), np.zeros(n_patches)], axis=1)
        path = features / f"P{case:02d}.h5"
        with BagWriter(path, dim=made.dim, attributes=made.attributes) as writer:
            writer.append(values.astype(np.float16), coords.astype(np.int32))
    source = CohortSource(adata=adata, features=features)
    run = folder / "run"
    finetune(source, tiny_config(**changes), start="none", output=run, runtime=Runtime())
    return run, source
