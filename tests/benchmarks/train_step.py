"""Measure a pre-training step: nystrom-attention, the same mathematics here, our presets.

    python tests/benchmarks/train_step.py --threads 1 2
    python tests/benchmarks/train_step.py --ways recommended --genes 60480 --batch 8 --rounds 1
    python tests/benchmarks/train_step.py --device cuda --batch 16

A step is the forward and backward pass and AdamW's update. The reference runs nystrom-attention bag
by bag, embeds every patch before masking, and decodes all rows. All ways start from the same
weights and use the same mask; they run in turns, and times are the shortest over the rounds. Saved
bytes are those that the forward pass keeps for the backward pass besides weights and features. Loss
and gradient are compared with the reference's before the first update, without dropout. Ratios
carry over to other machines, times do not; seconds are wall-clock time on a GPU, else CPU time.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gimp_plugin.assembly.build import build_model
from gimp_plugin.config import load_preset
from gimp_plugin.data.batches import moved
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.losses import masked_l1, patient_embedding, triplet_loss
from gimp_plugin.models.masking import draw_mask
from gimp_plugin.models.places import SlideEncoding
from gimp_plugin.training.optim import adamw

MIB = 2**20
AS_THE_PACKAGE = {"n_landmarks": 256, "segments": "front_pad", "cls_convolution": True}
RECOMMENDED = {"n_landmarks": 128}


class Way(NamedTuple):
    """One way to make the step."""

    settings: dict[str, object]
    lean: bool = True
    bf16: bool = False
    checkpointed: bool = False


WAYS = {
    "reference": Way({**AS_THE_PACKAGE, "aggregator": "nystrom-reference"}, lean=False),
    "our-attention": Way(AS_THE_PACKAGE, lean=False),
    "same-maths": Way(AS_THE_PACKAGE),
    "recommended": Way(RECOMMENDED),
    "recommended-bf16": Way(RECOMMENDED, bf16=True),
    "checkpointed": Way(RECOMMENDED, checkpointed=True),
}


class Batch(NamedTuple):
    """Bags of random features, genes if requested, and alternating classes."""

    features: Tensor
    valid: Tensor
    masked: Tensor
    genes: Tensor
    labels: Tensor


def main() -> None:
    """Compare the ways, then time them in turns for each number of threads."""
    asked = parsed()
    device = torch.device(asked.device)
    batch = Batch(*(one.to(device) for one in drawn(asked)))
    contestants = {name: Contestant(name, batch, asked) for name in asked.ways}
    reference = next(iter(contestants.values()))
    for one in contestants.values():
        one.compare(reference)
    for n_threads in asked.threads:
        torch.set_num_threads(n_threads)
        for _ in range(1 + asked.rounds):
            for one in contestants.values():
                one.step()
        report(contestants, n_threads, asked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    say(f"largest memory of the process: {peak:.2f} GiB")


class Contestant:
    """A model and its way to make a step."""

    def __init__(self, name: str, batch: Batch, asked: argparse.Namespace) -> None:
        self.way, self.batch = WAYS[name], batch
        config = load_preset("recommended", settings_of(self.way, asked))
        self.settings = config.pretrain
        self.model = build_model(
            config.model, n_genes=asked.genes, feature_dim=asked.feature_dim, n_classes=2, seed=0,
            decoder=True,
        ).to(batch.features.device)  # fmt: skip
        for part in (self.model.fusion, self.model.head, self.model.gene_classifier):
            if part is not None:
                part.requires_grad_(False)
        if self.way.checkpointed:
            self.model.aggregator.checkpointed = True
        # Places of the masks, computed in advance as in training, so that no step waits on a GPU.
        places = self.model.places(batch.valid.cpu(), masked=batch.masked.cpu())
        self.places = moved(places, batch.features.device)
        self.optimiser = adamw(self.model, self.settings, lr=1e-4)
        self.seconds: list[float] = []
        self.peaks: list[float] = []

    def loss(self) -> Tensor:
        """Compute L_rec and the triplet losses."""
        model, batch = self.model, self.batch
        with torch.autocast(batch.features.device.type, torch.bfloat16, enabled=self.way.bf16):
            if self.way.lean:
                encoded = model.encode_at(batch.features, self.places)
            else:
                encoded = plain(model, batch)
            total = masked_l1(encoded.reconstructed, encoded.target)
            spaces = [functional.normalize(encoded.cls_img, dim=-1)]
            if model.gene_encoder is not None:
                cls_ge = model.encode_genes(batch.genes)
                spaces.append(patient_embedding(encoded.cls_img, cls_ge, normalise=True))
            for space in spaces:
                total = total + triplet_loss(space, batch.labels, margin=0.8).loss
        return total

    def compare(self, reference: Contestant) -> None:
        """Measure loss, gradient and saved bytes without dropout."""
        without_dropout(self.model)
        with counted(self.model) as sizes:
            loss = self.loss()
        loss.backward()
        self.value = loss.item()
        self.gradient = {
            name: one.grad.cpu() for name, one in self.model.named_parameters()
            if one.grad is not None
        }  # fmt: skip
        kept = {one.untyped_storage().data_ptr() for one in (*self.model.parameters(), *self.batch)}
        self.saved = sum(size for place, size in sizes.items() if place not in kept) / MIB
        self.loss_gap = abs(self.value - reference.value) / abs(reference.value)
        self.gradient_gap = gap(self.gradient, reference.gradient)
        self.model.train()

    def step(self) -> None:
        """Make one timed update."""
        on_gpu = self.batch.features.is_cuda
        clock = time.perf_counter if on_gpu else time.process_time
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = clock()
        self.optimiser.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimiser.step()
        if on_gpu:
            torch.cuda.synchronize()
            self.peaks.append(torch.cuda.max_memory_allocated() / MIB)
        self.seconds.append(clock() - start)


def plain(model: GimpModel, batch: Batch) -> SlideEncoding:
    """Encode with every row in every step."""
    features, valid, masked = batch[:3]
    tokens = torch.where(masked[..., None], model.patches.mask_token, model.patches(features))
    cls_img, hidden = model.aggregator(tokens, valid, rows=valid)
    decoded = model.decoder(hidden).view_as(features)
    return SlideEncoding(cls_img, decoded[masked], model.patches.normalise(features)[masked])


def without_dropout(model: GimpModel) -> None:
    """Switch off dropout in a model in training mode."""
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.eval()


@contextmanager
def counted(model: GimpModel) -> Iterator[dict[int, int]]:
    """Count the bytes saved for the backward pass, including inputs of layers, by address."""
    sizes: dict[int, int] = {}
    alive = []  # else an address might be reused

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    def inputs(_layer: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        note(given[0])

    hooks = [layer.register_forward_pre_hook(inputs) for layer in model.aggregator.layers]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield sizes
    for hook in hooks:
        hook.remove()


def gap(gradient: dict[str, Tensor], reference: dict[str, Tensor]) -> float:
    """Norm of the difference of two gradients, divided by that of the second."""
    apart = sum(float((gradient[name] - one).double().square().sum())
                for name, one in reference.items())  # fmt: skip
    return (apart / sum(float(one.double().square().sum()) for one in reference.values())) ** 0.5


def report(contestants: dict[str, Contestant], n_threads: int, asked: argparse.Namespace) -> None:
    """Print a table of all ways and clear their times."""
    unit = "s" if asked.device.startswith("cuda") else "s of CPU"
    best = {name: min(one.seconds[1:]) for name, one in contestants.items()}
    first = next(iter(best.values()))
    say(f"{n_threads} threads: L = {asked.patches}, batch {asked.batch}, {unit} a step")
    for name, one in contestants.items():
        line = (
            f"{name:<18}{best[name]:8.3f} {unit}  x {first / best[name]:4.2f}  "
            f"saved {one.saved / asked.batch:6.1f} MiB a bag  loss {one.loss_gap:.1e}  "
            f"gradient {one.gradient_gap:.1e}"
        )
        peak = f"  peak {max(one.peaks):.0f} MiB on the device" if one.peaks else ""
        say(line + peak)
        one.seconds, one.peaks = [], []


def settings_of(way: Way, asked: argparse.Namespace) -> dict[str, object]:
    """Changes of the recommended preset for a way."""
    own = {"dim": asked.dim, "n_heads": asked.heads, **way.settings}
    own["modalities"] = "slides+genes" if asked.genes else "slides"
    return {f"model.{name}": value for name, value in own.items()}


def drawn(asked: argparse.Namespace) -> Batch:
    """Draw random bags and genes."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(asked.batch, asked.patches, asked.feature_dim, generator=draw)
    valid = torch.ones(asked.batch, asked.patches, dtype=torch.bool)
    return Batch(
        features.half(),
        valid,
        draw_mask(valid, 0.5, draw),
        torch.randn(asked.batch, asked.genes, generator=draw),
        torch.arange(asked.batch) % 2,
    )


def say(line: str) -> None:
    """Print a line without buffering."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in {
        "patches": 6000, "dim": 512, "heads": 8, "feature-dim": 1024, "batch": 1, "genes": 0,
        "rounds": 3,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
