"""Measure the cost of CLS_img of a large bag, read by chunks or with nystrom-attention.

    python tests/benchmarks/stream_bag.py --patches 37142 74284 148568

Bags of random features (1,024, float16, in our format) are written to a temporary folder. Each is
then encoded from its file in a separate process, in two ways: as `gimp predict` does, and with all
features loaded, through the layers of the package nystrom-attention. Both have the same weights and
the settings of the paper preset (512 dimensions, 8 heads, 256 landmarks, 2 layers, as in the
package: zeros in front, CLS convolved), so that both compute the same CLS_img; the largest
difference is printed. CPU time is that of the process from the first byte read to CLS_img, the
shortest over the rounds. Peak memory is relative to the process after all imports, with the model
built.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FEATURE_DIM = 1024
WAYS = {"streamed": "nystrom", "package": "nystrom-reference"}
GIB = 2**20
"""The system's kilobytes per GiB."""


def main() -> None:
    """Write the bags and compare both ways on each."""
    asked = parsed()
    if asked.bag:
        sys.stdout.write(json.dumps(encoded(asked.bag, asked.way, asked)))
        return
    ways = [asked.way] if asked.way else list(WAYS)
    with tempfile.TemporaryDirectory() as folder:
        for n_patches in asked.patches:
            bag = Path(folder) / f"{n_patches}.h5"
            write_bag(bag, n_patches)
            found = {way: [alone(bag, way) for _ in range(asked.rounds)] for way in ways}
            for way, runs in found.items():
                best = {key: min(run[key] for run in runs) for key in ("cpu", "wall", "gib")}
                say(
                    f"{n_patches:>7} patches  {way:<9} {best['cpu']:6.2f} s CPU  "
                    f"{best['wall']:6.2f} s wall  {best['gib']:.2f} GiB"
                )
            if len(ways) == 2:
                compare(*(found[way] for way in WAYS))
            bag.unlink()


def compare(ours: list[dict], theirs: list[dict]) -> None:
    """Print the ratios, and the difference between both results."""
    less = {
        key: min(run[key] for run in theirs) / min(run[key] for run in ours)
        for key in ("cpu", "gib")
    }
    apart = np.abs(np.subtract(ours[0]["cls_img"], theirs[0]["cls_img"])).max()
    say(
        f"                 package / streamed: CPU {less['cpu']:.2f}, memory {less['gib']:.1f}; "
        f"CLS_img differs by {apart:.1e}"
    )


def alone(bag: Path, way: str) -> dict:
    """Encode a bag in a separate process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--bag", str(bag), "--way", way]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def encoded(path: Path, way: str, asked: argparse.Namespace) -> dict:
    """Encode a bag; return CLS_img and its cost."""
    import torch

    from gimp_plugin.assembly.build import build_model
    from gimp_plugin.config import load_preset
    from gimp_plugin.data.cases import Case
    from gimp_plugin.data.chunks import load_chunks
    from gimp_plugin.storage.bags import read_features, read_info

    torch.set_num_threads(asked.threads)
    changes = {"model.modalities": "slides", "model.aggregator": WAYS[way]}
    config = load_preset("paper", changes).model
    model = build_model(
        config, n_genes=0, feature_dim=FEATURE_DIM, n_classes=2, seed=0, decoder=False
    ).eval()
    case = Case(case_id="case", bags=(read_info(path),))
    base, cpu, wall = kilobytes("VmRSS"), time.process_time(), time.perf_counter()
    with torch.inference_mode():
        if way == "streamed":
            _, chunks = next(load_chunks([case], device=torch.device("cpu")))
            cls_img = model.stream_slides(chunks, [case.n_patches])
        else:
            features = torch.from_numpy(read_features(case.bags[0]))[None]
            valid = torch.ones(features.shape[:2], dtype=torch.bool)
            cls_img = model.encode_slides(features, valid).cls_img
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "gib": (kilobytes("VmHWM") - base) / GIB,
        "cls_img": cls_img[0].tolist(),
    }


def write_bag(path: Path, n_patches: int) -> None:
    """Write a bag of random features that drift along the slide, as tissue does."""
    from gimp_plugin.storage.bag_writer import BagWriter

    rng = np.random.default_rng(0)
    ends = rng.normal(size=(2, FEATURE_DIM)).astype(np.float32)
    with BagWriter(path, dim=FEATURE_DIM, attributes={}, n_patches=n_patches) as bag:
        for start in range(0, n_patches, 8192):
            place = np.arange(start, min(start + 8192, n_patches))
            share = (place / n_patches).astype(np.float32)[:, None]
            noise = rng.standard_normal((len(place), FEATURE_DIM), np.float32)
            features = (1 - share) * ends[0] + share * ends[1] + noise
            bag.append(features, 256 * np.stack([place % 400, place // 400], axis=1))


def kilobytes(name: str) -> int:
    """Memory of this process according to the system: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def say(line: str) -> None:
    """Print a line without buffering."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--patches", type=int, nargs="+", default=[37142, 74284, 148568])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help="only this one")
    parser.add_argument("--bag", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
