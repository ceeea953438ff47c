"""Measure reading a window of 6,000 patches from a large bag, in several file formats.

    python tests/benchmarks/read_windows.py --patches 148569 --dim 1024 --windows 12

In random order, in one process, from a warm cache: our bag (float16, chunks of 512 rows, checksums
verified), the same through HDF5's own filters, `torch.load` of the whole bag as in CLAM (float32),
a numpy memory map (float16, no checksums), and HDF5 in chunks of one row as in TRIDENT (float32).
Each window starts elsewhere, so none has been read by the variant before it. Printed is the median
CPU time per window; the ratios depend on the machine, too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

from gimp_plugin.storage.bag_writer import BagWriter
from gimp_plugin.storage.bags import read_features, read_info

Window = Callable[[int, int], object]


def main() -> None:
    """Write the bag in each layout, read windows in turns, and print the medians."""
    asked = parsed()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        ways = contestants(Path(folder), asked.patches, asked.dim)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(asked.windows):
            for way in rng.permutation(list(ways)).tolist():
                start = int(rng.integers(asked.patches - asked.length))
                began = time.process_time()
                ways[way](start, start + asked.length)
                seconds[way].append(time.process_time() - began)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    ours = medians["our bag"]
    for way, median in medians.items():
        sys.stdout.write(f"{way:<24} {1000 * median:9.1f} ms a window   x {median / ours:.2f}\n")


def contestants(folder: Path, n_patches: int, dim: int) -> dict[str, Window]:
    """Write the same features in each layout, and return a reader of windows for each."""
    features = np.random.default_rng(0).standard_normal((n_patches, dim), np.float32)
    features = features.astype(np.float16)
    coords = np.zeros((n_patches, 2), np.int32)
    with BagWriter(
        folder / "ours.h5", dim=dim, attributes={}, coords_attributes={}, n_patches=n_patches
    ) as bag:
        for start in range(0, n_patches, 4096):
            bag.append(features[start : start + 4096], coords[start : start + 4096])
    np.save(folder / "map.npy", features)
    torch.save(torch.from_numpy(features.astype(np.float32)), folder / "clam.pt")
    with h5py.File(folder / "trident.h5", "w") as file:
        rows = file.create_dataset("features", features.shape, "f4", chunks=(1, dim))
        for start in range(0, n_patches, 4096):
            rows[start : start + 4096] = features[start : start + 4096]
    info = read_info(folder / "ours.h5")

    def filters(start: int, stop: int) -> object:
        with h5py.File(folder / "ours.h5") as file:
            return file["features"][start:stop]

    def memory_map(start: int, stop: int) -> object:
        return np.array(np.load(folder / "map.npy", mmap_mode="r")[start:stop])

    def clam(start: int, stop: int) -> object:
        return torch.load(folder / "clam.pt", weights_only=True)[start:stop].clone()

    def trident(start: int, stop: int) -> object:
        with h5py.File(folder / "trident.h5") as file:
            return file["features"][start:stop]

    return {
        "our bag": lambda start, stop: read_features(info, start, stop),
        "our bag, HDF5's filters": filters,
        "torch.load of all": clam,
        "numpy memory map": memory_map,
        "HDF5, chunks of one row": trident,
    }


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=148_569)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--length", type=int, default=6000)
    parser.add_argument("--windows", type=int, default=12)
    return parser.parse_args()


if __name__ == "__main__":
    main()
