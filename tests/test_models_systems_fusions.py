"""PORPOISE and Pathomic Fusion against their steps, written out for single values."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tests.model_factory import FEATURE_DIM, draw
from tests.system_factory import N_GENES, make_system, weights_of


def relu(w, name, x):
    return torch.relu(w[f"{name}.weight"] @ x + w[f"{name}.bias"])


def selu(w, name, x):
    return functional.selu(w[f"{name}.weight"] @ x + w[f"{name}.bias"])


def fused(w, halves, *, bilinear):
    """Gate both vectors, multiply each value with each, and go through the last two layers."""
    gated = []
    for side, half in enumerate(halves):
        weight, bias = w[f"fusion.gates.{side}.weight"], w[f"fusion.gates.{side}.bias"]
        if bilinear:
            z = torch.stack([halves[0] @ matrix @ halves[1] for matrix in weight]) + bias
        else:
            z = weight @ torch.cat(halves) + bias
        h = relu(w, f"fusion.hidden.{side}.0", half)
        out = relu(w, f"fusion.outs.{side}.0", h / (1 + torch.exp(-z)))
        gated.append([*out.tolist(), 1.0])
    products = torch.tensor([a * b for a in gated[0] for b in gated[1]], dtype=torch.float64)
    values = relu(w, "fusion.products.0", products)
    skipped = torch.tensor(gated, dtype=torch.float64).flatten() if bilinear else torch.cat(halves)
    return relu(w, "fusion.last.0", torch.cat([values, skipped]))


@pytest.mark.parametrize("n_patches", [1, 13])
def test_porpoise_is_its_steps(n_patches):
    system = make_system("porpoise")
    w, features, genes = weights_of(system), draw(n_patches, FEATURE_DIM), draw(N_GENES, seed=1)

    logits = system(features, genes).detach()

    patches = torch.stack([relu(w, "embed.1", one) for one in features])
    value = torch.tanh(patches @ w["attention.value.weight"].T + w["attention.value.bias"])
    gate = torch.sigmoid(patches @ w["attention.gate.weight"].T + w["attention.gate.bias"])
    attention = ((value * gate) @ w["attention.score.weight"][0]).softmax(0)
    image = relu(w, "bag.0", attention @ patches)
    hidden = selu(w, "genes.3", selu(w, "genes.0", genes))
    expected = w["head.weight"] @ fused(w, [image, hidden], bilinear=False) + w["head.bias"]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(system.attend(features)[0], attention, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_patches", [1, 13])
def test_pathomic_fusion_is_its_steps(n_patches):
    system = make_system("pathomic-fusion")
    w, features, genes = weights_of(system), draw(n_patches, FEATURE_DIM), draw(N_GENES, seed=1)

    logits = system(features, genes).detach()

    image = relu(w, "bag.0", sum(relu(w, "embed.0", one) for one in features) / n_patches)
    hidden = selu(w, "genes.3", selu(w, "genes.0", genes))
    expected = w["head.weight"] @ fused(w, [image, hidden], bilinear=True) + w["head.bias"]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
