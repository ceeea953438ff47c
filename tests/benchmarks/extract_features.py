"""Measure the CPU time per patch from slide to bag, and the memory per slide.

    python tests/benchmarks/extract_features.py speed --patches 500 --rounds 3
    python tests/benchmarks/extract_features.py memory --patches 2000 20000 60000

`speed` runs our extraction, TIAToolbox's DeepFeatureExtractor, and the bare encoder on batches in
memory, in turns and in one process, on one generated slide. It does so with two encoders: ResNet50
to layer3 (time is spent in the network; random weights cost as much as trained ones) and a trivial
network (time is spent on reading). CPU seconds are those of all processes; work done once for a
thousand slides (imports, starting processes) is left out.
`memory` extracts slides of several sizes, each in a separate process, and prints the peak memory of
the main process and of its readers, counting shared pages once, and how it grows. Large blocks are
returned to the system at once (MALLOC_MMAP_THRESHOLD_), so that memory kept by the allocator does
not count. `--toolbox` measures DeepFeatureExtractor instead, with the trivial network.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.huge_slide import BORDER, TILE_PX, make_huge_slide  # found through sys.path

PATCH = 256
TICK = os.sysconf("SC_CLK_TCK")
NETWORKS = ("resnet50 to layer3", "trivial")


def say(line: str) -> None:
    """Print a line without buffering."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["speed", "memory", "one"])
    parser.add_argument("--patches", type=int, nargs="+", default=[500])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--toolbox", action="store_true", help="weigh DeepFeatureExtractor instead")
    asked = parser.parse_args()
    if asked.what == "one":
        if asked.toolbox:
            ways = contestants(NETWORKS[1], asked.slide, asked.slide.parent)
            say(f"{ways['DeepFeatureExtractor'](0)} patches")
        else:
            extract_alone(asked.slide)
        return
    with tempfile.TemporaryDirectory() as folder:
        if asked.what == "speed":
            compare(Path(folder), asked.patches[0], asked.rounds)
        else:
            weigh(Path(folder), asked.patches, toolbox=asked.toolbox)


def compare(folder: Path, n_patches: int, rounds: int) -> None:
    """Print CPU seconds per patch of the three ways, for two networks."""
    logging.disable(logging.WARNING)
    for name in NETWORKS:
        slide = folder / f"{name.split()[0]}.svs"
        make_huge_slide(slide, side_tiles=side_for(n_patches * (1 if name == NETWORKS[0] else 5)))
        ways = contestants(name, slide, folder, started=True)
        costs: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(rounds):
            for way, work in ways.items():
                start, count = cpu_seconds(), work(turn)
                costs[way].append((cpu_seconds() - start) / count)
        best = {way: min(values) for way, values in costs.items()}
        say(f"{name} (CPU ms a patch, {rounds} rounds)")
        for way, values in costs.items():
            told = " ".join(f"{1000 * value:.2f}" for value in values)
            say(f"  {way:<22} {told}   best / bare encoder {best[way] / best['bare encoder']:.2f}")
        say(f"  DeepFeatureExtractor / ours: {best['DeepFeatureExtractor'] / best['ours']:.2f}")


def contestants(
    name: str, slide: Path, folder: Path, *, started: bool = False
) -> dict[str, Callable[[int], int]]:
    """Three ways to get features; each returns the number of encoded patches."""
    import torch
    from tiatoolbox.models.engine.deep_feature_extractor import DeepFeatureExtractor
    from tiatoolbox.models.engine.io_config import IOSegmentorConfig

    from gimp_plugin.config import ExtractionConfig, ReadingOptions, Runtime
    from gimp_plugin.slides.encoding import Encoding
    from gimp_plugin.slides.extraction import find_slides
    from gimp_plugin.slides.jobs import Job, bag_folder
    from gimp_plugin.slides.ledger import Ledger
    from gimp_plugin.slides.making import BagMaker
    from gimp_plugin.slides.reading import SlideReaders
    from gimp_plugin.slides.status import Status
    from gimp_plugin.slides.turns import make_bags

    encoder = truncated_resnet50() if name == NETWORKS[0] else trivial()
    encoding = Encoding(encoder, Runtime(device="cpu"))
    readers = functools.cache(SlideReaders)
    if started:
        readers().wait_until_ready()
    pixels = np.random.default_rng(0).integers(0, 256, (16, PATCH, PATCH, 3), np.uint8)

    def bare(_turn: int) -> int:
        n_batches = 12 if name == NETWORKS[0] else 5000
        for _ in range(n_batches):
            encoding(pixels)
        return 16 * n_batches

    def ours(turn: int) -> int:
        job = Job(
            config=ExtractionConfig(patch_encoder="untrained"),
            runtime=Runtime(device="cpu"),
            options=ReadingOptions(),
            output=folder / f"{name}-{turn}",
        )
        bags = bag_folder(job, encoder)
        maker = BagMaker(readers(), encoding, folder=bags, config=job.config, options=job.options)
        ledger = Ledger(Status(job.output), n_slides=1)
        make_bags(find_slides([slide]), maker, ledger)
        return sum(ledger.done.values())

    class Model(torch.nn.Module):
        """The same network with TIAToolbox's interface."""

        def __init__(self) -> None:
            super().__init__()
            self.network = encoding._module  # the same network and preprocessing

        @staticmethod
        def preproc_func(patch: np.ndarray) -> np.ndarray:
            return patch

        @staticmethod
        def infer_batch(model: Model, batch: torch.Tensor, *, device: str) -> list[np.ndarray]:
            with torch.inference_mode():
                return [model.network(batch.to(device)).numpy()]

    def theirs(turn: int) -> int:
        extractor = DeepFeatureExtractor(model=Model(), batch_size=16, num_workers=1, device="cpu")
        size = [PATCH, PATCH]
        config = IOSegmentorConfig(
            input_resolutions=[{"units": "mpp", "resolution": 0.5}],
            output_resolutions=[{"units": "mpp", "resolution": 0.5}],
            patch_input_shape=size, patch_output_shape=size, stride_shape=size,
            save_resolution={"units": "mpp", "resolution": 0.5},
        )  # fmt: skip
        output = folder / f"toolbox-{slide.stem}-{turn}"
        with redirect_stdout(sys.stderr):
            made = extractor.run(
                [slide], patch_mode=False, ioconfig=config, save_dir=output,
                auto_get_mask=True, output_type="zarr", verbose=False,
            )  # fmt: skip
        import zarr

        return int(zarr.open(str(next(iter(made.values()))), mode="r")["features"].shape[0])

    return {"ours": ours, "DeepFeatureExtractor": theirs, "bare encoder": bare}


def truncated_resnet50() -> object:
    """ResNet50 to layer3 with random weights."""
    from torchvision.models import resnet50

    from gimp_plugin.slides.encoders import Encoder
    from gimp_plugin.slides.networks import TruncatedResNet50

    return Encoder(
        name="resnet50", dim=1024, input_size=PATCH, weights_sha256="random", licence="none",
        preprocessing="none", build=lambda: TruncatedResNet50(resnet50(weights=None).state_dict()),
    )  # fmt: skip


def trivial() -> object:
    """Encoder with a trivial network."""
    from torch import nn

    from gimp_plugin.slides.encoders import Encoder

    class Corner(nn.Module):
        def forward(self, patches: object) -> object:
            return patches[:, :8, :8].float().mean(dim=(1, 2))

    return Encoder(
        name="trivial", dim=3, input_size=PATCH, weights_sha256="none", licence="none",
        preprocessing="none", build=Corner,
    )  # fmt: skip


def weigh(folder: Path, sizes: list[int], *, toolbox: bool) -> None:
    """Print the peak memory of extracting slides of several sizes."""
    found = []
    for n_patches in sizes:
        slide = folder / f"{n_patches}.svs"
        side = make_huge_slide(slide, side_tiles=side_for(n_patches))
        command = [sys.executable, __file__, "one", "--slide", str(slide)]
        command += ["--toolbox"] if toolbox else []
        start = time.monotonic()
        env = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        peaks = Peaks(process.pid)
        told, _ = process.communicate()
        peaks.stop()
        say(
            f"{side} px, {told.strip()}: peak {peaks.parent:.0f} MiB in the main process, "
            f"{peaks.readers:.0f} MiB in its readers, {time.monotonic() - start:.0f} s"
        )
        found.append((peaks.parent, peaks.readers))
        slide.unlink()
    parents, readers = zip(*found, strict=True)
    say(
        f"from the least to the most: {max(parents) - min(parents):.0f} MiB in the main process, "
        f"{max(readers) - min(readers):.0f} MiB in its readers"
    )


def extract_alone(slide: Path) -> None:
    """Extract one slide and print the number of patches."""
    from gimp_plugin.config import ExtractionConfig
    from gimp_plugin.slides.extraction import extract_features

    config = ExtractionConfig(patch_encoder="untrained")
    result = extract_features([slide], config, output=slide.with_suffix(""))
    say(f"{result.n_patches} patches")


class Peaks:
    """Peak memory of a process and of its descendants, without mapped files."""

    def __init__(self, pid: int) -> None:
        self.parent = self.readers = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            below = [pid for pid in family(self._pid) if pid != self._pid]
            self.parent = max(self.parent, anonymous_mib(self._pid))
            self.readers = max(self.readers, sum(map(anonymous_mib, below)))


def side_for(n_patches: int) -> int:
    """Number of tiles along the side of a slide with about `n_patches` patches."""
    return round(n_patches**0.5 * PATCH / TILE_PX) + 2 * BORDER


def anonymous_mib(pid: int) -> float:
    """Memory of a process without mapped files, and with only its share of shared pages."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) / 1024


SPENT: dict[tuple[int, str], float] = {}


def cpu_seconds() -> float:
    """CPU time of this process and of all descendants ever seen."""
    note_cpu()
    return sum(SPENT.values())


def note_cpu() -> None:
    """Record the CPU time of this process and of all its descendants."""
    for pid in family(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
        except OSError:
            continue
        user, system, began = (fields.split()[index] for index in (11, 12, 19))
        SPENT[pid, began] = (int(user) + int(system)) / TICK


def watch_cpu() -> None:
    """Record CPU time regularly, because readers come and go without being waited for."""
    while True:
        note_cpu()
        time.sleep(0.05)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


if __name__ == "__main__":
    threading.Thread(target=watch_cpu, daemon=True).start()
    main()
