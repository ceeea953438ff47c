"""How much faster a pre-training step is than one with the package's attention.

    python tests/benchmarks/attention.py --patches 6000 --dim 512

The reference runs nystrom-attention bag by bag, embeds every patch before masking, and decodes all
rows; ours computes the same losses from the rows that they need. Times are those of the processor,
the best of several; the ratio is what carries over to other machines.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gimp_plugin.config import load_preset
from gimp_plugin.models.aggregator import NystromAggregator, ReferenceAggregator
from gimp_plugin.models.losses import masked_l1, triplet_loss
from gimp_plugin.models.masking import draw_mask
from gimp_plugin.models.patches import Decoder, PatchEmbedding

FEATURE_DIM = 1024


def main() -> None:
    """Time both steps and write the ratio."""
    sizes = parsed()
    torch.set_num_threads(sizes.threads)
    changes = {
        "model.dim": sizes.dim,
        "model.n_heads": sizes.heads,
        "model.n_landmarks": sizes.landmarks,
    }
    config = load_preset("recommended", changes).model
    features = torch.randn(sizes.batch, sizes.patches, FEATURE_DIM)
    valid = torch.ones(sizes.batch, sizes.patches, dtype=torch.bool)
    masked = draw_mask(valid, 0.5, torch.Generator().manual_seed(0))
    seconds = {}
    for name, kind in (("reference", ReferenceAggregator), ("fast", NystromAggregator)):
        parts = nn.ModuleList(
            [
                PatchEmbedding(FEATURE_DIM, config.dim),
                kind.from_config(config),
                Decoder(config.dim, FEATURE_DIM),
            ]
        )
        loss = reference_loss if name == "reference" else fast_loss
        seconds[name] = best(lambda: loss(parts, features, valid, masked), sizes)  # noqa: B023
        sys.stdout.write(f"{name:<10} {seconds[name]:7.3f} s a step\n")
    sys.stdout.write(f"ratio      {seconds['reference'] / seconds['fast']:7.2f}\n")


def reference_loss(parts: nn.ModuleList, features: Tensor, valid: Tensor, masked: Tensor) -> Tensor:
    """Losses the plain way: every row everywhere."""
    patches, aggregator, decoder = parts
    tokens = torch.where(masked[..., None], patches.mask_token, patches(features, valid))
    cls_img, hidden = aggregator(tokens, valid, rows=valid)
    decoded = decoder(hidden).view_as(features)
    return with_triplets(masked_l1(decoded[masked], patches.normalise(features)[masked]), cls_img)


def fast_loss(parts: nn.ModuleList, features: Tensor, valid: Tensor, masked: Tensor) -> Tensor:
    """Losses from the rows that they need."""
    patches, aggregator, decoder = parts
    cls_img, hidden = aggregator(patches(features, valid, masked), valid, rows=masked)
    return with_triplets(masked_l1(decoder(hidden), patches.normalise(features[masked])), cls_img)


def with_triplets(reconstruction: Tensor, cls_img: Tensor) -> Tensor:
    """Both terms; a batch of one has no triplet."""
    labels = torch.arange(len(cls_img)) % 2
    embedding = nn.functional.normalize(cls_img)
    return reconstruction + triplet_loss(embedding, labels, margin=0.8).loss


def best(loss: Callable[[], Tensor], sizes: argparse.Namespace) -> float:
    """Least processor time of a forward and a backward pass."""
    times = []
    for _ in range(1 + sizes.rounds):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=sizes.bf16):
            value = loss()
        value.backward()
        times.append(time.process_time() - start)
    return min(times[1:])


def parsed() -> argparse.Namespace:
    """Sizes from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in {
        "batch": 1, "patches": 6000, "dim": 512, "heads": 8, "landmarks": 256, "rounds": 3,
        "threads": 1,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--bf16", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
