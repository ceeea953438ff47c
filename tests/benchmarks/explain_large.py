"""Measure the cost of maps of a very large slide: attention alone, and with attributions.

    python tests/benchmarks/explain_large.py
    python tests/benchmarks/explain_large.py --patches 15000 --steps 1 4

A bag of random features (1,024, float16, in our format) and a slide with as many patches of 256 px
are written to a temporary folder. `gimp explain` is run on both, each time in a separate process:
with attention alone, drawn over the slide; with GeoJSON and annotation store in addition; and with
integrated gradients of the given numbers of steps. The run is the recommended preset, trained for
one epoch on a few small bags. Printed are CPU time and peak memory of the process and its children,
including the import of Python's libraries; `nothing` is the same for a case of 10 patches.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gimp_plugin.config import CohortSource, Runtime, load_preset
from gimp_plugin.storage.bags import BagWriter
from gimp_plugin.training import finetune

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.cohort_factory import make_cohort  # found through sys.path
from tests.huge_slide import TILE_PX, make_huge_slide

FEATURE_DIM, SIDE = 1024, 256
N_CASES, N_GENES = 30, 480
CHUNK = 8192
FEW = ("genes", "occlusion", "faithfulness", "tsne", "umap")
"""Outputs to skip: independent of the size of a slide, or measured elsewhere."""


def main() -> None:
    """Make run, bags and slide, and explain."""
    asked = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [f"P{case:02d}" for case in range(N_CASES)]
        make_cohort(folder / "genes.h5ad", n_cases=N_CASES, n_genes=N_GENES, declared="log")
        for case_id in names:
            write_bag(folder / "small" / f"{case_id}.h5", 10)
        train(folder)
        write_bag(folder / "ten" / "P00.h5", 10)
        write_bag(folder / "large" / "P00.h5", asked.patches)
        side_tiles = -(-SIDE * grid_of(asked.patches) // TILE_PX)
        (folder / "slides").mkdir()
        make_huge_slide(folder / "slides" / "P00.svs", side_tiles=side_tiles)
        alone = ("--skip", "attribution", "--format", "csv")
        tried = {
            "nothing": ("ten", *alone),
            "attention, overlay, CSV": ("large", *alone),
            "attention, overlay, GeoJSON, store": ("large", "--skip", "attribution"),
        }
        for steps in asked.steps:
            title = f"and attribution of {steps} step{'s' * (steps > 1)}"
            tried[title] = ("large", "--format", "csv", "--steps", steps)
        for place, (title, (features, *more)) in enumerate(tried.items()):
            cpu, wall, gib = explained(folder, features, f"why{place}", *more)
            sys.stdout.write(f"{title:<36} {cpu:7.1f} s CPU {wall:7.1f} s wall {gib:5.2f} GiB\n")
            sys.stdout.flush()


def explained(folder: Path, features: str, output: str, *more: object) -> tuple[float, ...]:
    """Explain one case in a separate process; return CPU and wall seconds, and peak memory."""
    skipped = [word for one in FEW for word in ("--skip", one)]
    slides = [] if features == "ten" else ["--slides", "slides"]
    command = [sys.executable, "-m", "gimp_plugin", "-q", "explain", "--model", "run"]
    command += ["--adata", "one.h5ad", "--features", features, *slides, *skipped, "-o", output]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, *map(str, more)], cwd=folder, stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    cpu = used.ru_utime + used.ru_stime  # of its own readers, too
    return cpu, time.perf_counter() - started, used.ru_maxrss / 2**20


def train(folder: Path) -> None:
    """Train the recommended preset for an epoch on the small bags, holding out one case."""
    import anndata

    changes = {"genes.epochs": 1, "finetune.epochs": 1}
    finetune(
        CohortSource(adata=folder / "genes.h5ad", features=folder / "small"),
        load_preset("recommended", changes),
        start="none",
        output=folder / "run",
        runtime=Runtime(device="cpu"),
    )
    anndata.read_h5ad(folder / "genes.h5ad")[["P00"]].write_h5ad(folder / "one.h5ad")


def write_bag(path: Path, n_patches: int) -> None:
    """Write a bag of random features on a square grid."""
    rng, columns = np.random.default_rng(0), grid_of(n_patches)
    path.parent.mkdir(exist_ok=True)
    facts = {"encoder": "untrained"}
    if n_patches > CHUNK:
        side = TILE_PX * -(-SIDE * columns // TILE_PX)
        facts |= {"slide_width": side, "slide_height": side}
    with BagWriter(
        path,
        dim=FEATURE_DIM,
        attributes=facts,
        coords_attributes={"patch_size_level0": SIDE},
        n_patches=n_patches,
    ) as bag:
        for start in range(0, n_patches, CHUNK):
            place = np.arange(start, min(start + CHUNK, n_patches))
            features = rng.standard_normal((len(place), FEATURE_DIM), np.float32)
            bag.append(features, SIDE * np.stack([place % columns, place // columns], axis=1))


def grid_of(n_patches: int) -> int:
    """Number of patches along a side."""
    return int(np.ceil(np.sqrt(n_patches)))


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--patches", type=int, default=148569)
    parser.add_argument("--steps", type=int, nargs="*", default=[1])
    return parser.parse_args()


if __name__ == "__main__":
    main()
