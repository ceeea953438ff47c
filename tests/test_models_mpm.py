"""What masked patch modeling learns from neighbours, beside guesses that need no training."""

from __future__ import annotations

import pytest
import torch

from gimp_plugin.models.aggregator import NystromAggregator
from gimp_plugin.models.losses import masked_l1
from gimp_plugin.models.masking import draw_mask
from gimp_plugin.models.patches import Decoder, PatchEmbedding
from gimp_plugin.models.places import picked
from tests.model_factory import small_config

N_PATCHES, FEATURE_DIM, NOISE, N_BAGS, N_STEPS = 61, 13, 0.5, 12, 100


def bags_of_runs(n_bags: int, generator: torch.Generator, *, shuffled: bool) -> torch.Tensor:
    """Bags whose patches come in runs: each run one direction of its own, and noise."""
    run = torch.rand(n_bags, N_PATCHES, generator=generator).lt(0.1).cumsum(dim=1)
    directions = torch.randn(n_bags, N_PATCHES + 1, FEATURE_DIM, generator=generator)
    patches = torch.stack([own[index] for own, index in zip(directions, run, strict=True)])
    patches = patches + NOISE * torch.randn(patches.shape, generator=generator)
    if shuffled:
        patches = patches[:, torch.randperm(N_PATCHES, generator=generator)]
    return patches


def held_out_error(*, taps: int = 33, shuffled: bool = False) -> dict[str, float]:
    """Masked L1 on new bags after training, and that of two guesses."""
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(8)
    config = small_config(dim=40, n_heads=5, n_landmarks=16, convolution_taps=taps)
    patches = PatchEmbedding(FEATURE_DIM, config.dim)
    aggregator, decoder = NystromAggregator(config), Decoder(config.dim, FEATURE_DIM)
    parts = torch.nn.ModuleList([patches, aggregator, decoder])
    optimiser = torch.optim.AdamW(parts.parameters(), lr=5e-3)
    valid = torch.ones(N_BAGS, N_PATCHES, dtype=torch.bool)

    def error(bags: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        tokens = patches(bags, picked(valid & ~masked))
        _, hidden = aggregator(tokens, valid, rows=masked)
        return masked_l1(decoder(hidden), patches.normalise(bags)[masked])

    for _ in range(N_STEPS):
        bags = bags_of_runs(N_BAGS, generator, shuffled=shuffled)
        optimiser.zero_grad()
        error(bags, draw_mask(valid, 0.5, generator)).backward()
        optimiser.step()
    parts.eval()
    bags = bags_of_runs(N_BAGS, generator, shuffled=shuffled)
    masked = draw_mask(valid, 0.5, generator)
    with torch.inference_mode():
        return {"model": error(bags, masked).item(), **guesses(patches.normalise(bags), masked)}


def guesses(bags: torch.Tensor, masked: torch.Tensor) -> dict[str, float]:
    """Error of the bag's median, and of the nearest visible patch, for the masked patches."""
    median, nearest = [], []
    for bag, hidden in zip(bags, masked, strict=True):
        seen = (~hidden).nonzero().squeeze(1)
        middle = bag[seen].median(dim=0).values
        for patch in hidden.nonzero().squeeze(1):
            median.append((bag[patch] - middle).abs().mean())
            closest = seen[(seen - patch).abs().argmin()]
            nearest.append((bag[patch] - bag[closest]).abs().mean())
    return {
        "median": torch.stack(median).mean().item(),
        "nearest": torch.stack(nearest).mean().item(),
    }


@pytest.mark.slow
def test_neighbours_are_learnt_from_and_only_by_the_convolution():
    learnt = held_out_error()
    without_convolution = held_out_error(taps=0)
    shuffled = held_out_error(shuffled=True)

    assert learnt["model"] < 0.8 * learnt["median"]
    assert learnt["model"] < 0.95 * learnt["nearest"]
    assert learnt["model"] < 0.9 * without_convolution["model"]
    assert learnt["model"] < 0.9 * shuffled["model"]
