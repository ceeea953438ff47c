"""Convolution by banded matrices against a loop and against torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gimp_plugin.models.convolution import BLOCK, convolve
from tests.model_factory import draw


@pytest.mark.parametrize("n_patches", [0, 1, 2, 31, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_it_is_a_sum_over_neighbours_within_reach(n_patches):
    x, weight = draw(2, n_patches, 3, 4), draw(3, 9, seed=1)

    convolved = convolve(x, weight)

    expected = torch.zeros_like(x)
    for patch in range(n_patches):
        for tap in range(9):
            neighbour = patch + tap - 4
            if 0 <= neighbour < n_patches:
                expected[:, patch] += weight[:, tap, None] * x[:, neighbour]
    torch.testing.assert_close(convolved, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_patches", [46, 61, 256, 257])
def test_float32_weight_gradients_agree_with_float64(n_patches):
    """At 46, 61 and 256, oneDNN's conv2d misses by up to 16 %."""
    x, weight, direction = draw(1, n_patches, 3, 5), draw(3, 33, seed=1), draw(1, n_patches, 3, 5)

    gradients = []
    for dtype in (torch.float32, torch.float64):
        own = weight.detach().to(dtype).clone().requires_grad_()
        (convolve(x.to(dtype), own) * direction.to(dtype)).sum().backward()
        gradients.append(own.grad.double())

    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("taps", [1, 9, 65, 2 * BLOCK + 11])
def test_its_gradients_are_those_of_conv2d_in_float64(taps):
    x, weight = draw(2, 70, 3, 4).requires_grad_(), draw(3, taps, seed=1).requires_grad_()
    direction = draw(2, 70, 3, 4, seed=2)

    ours = torch.autograd.grad((convolve(x, weight) * direction).sum(), (x, weight))

    other = functional.conv2d(
        x.permute(0, 2, 1, 3), weight[:, None, :, None], padding=(taps // 2, 0), groups=3
    ).permute(0, 2, 1, 3)
    theirs = torch.autograd.grad((other * direction).sum(), (x, weight))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
