"""TransMIL against the same steps written with the package's attention and plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from nystrom_attention import NystromAttention
from torch.nn import functional

from tests.model_factory import FEATURE_DIM, draw
from tests.system_factory import make_system, weights_of


def convolved(square, weight, bias):
    """Depthwise convolution of a square (row, column, dim), value by value."""
    half, (n_rows, n_columns, _) = weight.shape[-1] // 2, square.shape
    out = bias.expand_as(square).clone()
    for row in range(n_rows):
        for column in range(n_columns):
            for down in range(-half, half + 1):
                for right in range(-half, half + 1):
                    if 0 <= row + down < n_rows and 0 <= column + right < n_columns:
                        tap = weight[:, 0, half + down, half + right]
                        out[row, column] += tap * square[row + down, column + right]
    return out


def naive(system, features):
    """Logits by the package's own attention, on the bag as a square."""
    w = weights_of(system)
    bag = torch.relu(features @ w["embed.0.weight"].T + w["embed.0.bias"])
    side = math.ceil(len(bag) ** 0.5)
    bag = torch.stack([bag[place % len(bag)] for place in range(side**2)])
    x = torch.cat([w["cls_token"][None], bag])
    for layer, attention in enumerate(system.attentions):
        package = NystromAttention(20, dim_head=4, heads=5, num_landmarks=10).double().eval()
        package.load_state_dict(attention.state_dict())
        normed = functional.layer_norm(
            x, (20,), w[f"norms.{layer}.weight"], w[f"norms.{layer}.bias"]
        )
        x = x + package(normed[None])[0].detach()
        if layer == 0:
            square = x[1:].reshape(side, side, 20)
            placed = square.clone()
            for number in range(3):
                placed += convolved(
                    square, w[f"position.{number}.weight"], w[f"position.{number}.bias"]
                )
            x = torch.cat([x[:1], placed.reshape(-1, 20)])
    cls = functional.layer_norm(x[0], (20,), w["norms.2.weight"], w["norms.2.bias"])
    return w["head.weight"] @ cls + w["head.bias"]


@pytest.mark.parametrize("n_patches", [1, 2, 5, 16, 23])
def test_the_logits_are_those_of_the_package_on_a_square(n_patches):
    system, features = make_system("transmil"), draw(n_patches, FEATURE_DIM)

    logits = system(features, None)

    torch.testing.assert_close(logits.detach(), naive(system, features), rtol=0, atol=1e-11)


def test_the_place_of_a_patch_counts():
    system, features = make_system("transmil"), draw(23, FEATURE_DIM)

    moved = system(features.flip(0), None)

    assert (moved - system(features, None)).abs().max() > 1e-4
