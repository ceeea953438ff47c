"""MCAT against its steps, and the groups of genes that it reads."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gimp_plugin.models.group_msa import GroupMSA
from tests.model_factory import FEATURE_DIM, draw, small_config
from tests.system_factory import N_GENES, make_system, weights_of

DIM, N_HEADS = 20, 5


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attended(w, name, queries, keys, *, n_heads):
    """Multi-head attention, head by head."""
    in_weight, in_bias = w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]
    parts = zip((queries, keys, keys), in_weight.split(DIM), in_bias.split(DIM), strict=True)
    q, k, v = (x @ weight.T + bias for x, weight, bias in parts)
    size, heads = DIM // n_heads, []
    for at in range(0, DIM, size):
        own = slice(at, at + size)
        heads.append((q[:, own] @ k[:, own].T / size**0.5).softmax(dim=1) @ v[:, own])
    return linear(w, f"{name}.out_proj", torch.cat(heads, dim=1))


def pooled(w, name, members):
    """Two transformer layers with norms behind, then gated attention pooling."""
    for layer in range(2):
        at = f"{name}.transformer.layers.{layer}"
        norms = [(DIM,), *(w[f"{at}.norm1.{part}"] for part in ("weight", "bias"))]
        seen = attended(w, f"{at}.self_attn", members, members, n_heads=N_HEADS)
        members = functional.layer_norm(members + seen, *norms)
        norms = [(DIM,), *(w[f"{at}.norm2.{part}"] for part in ("weight", "bias"))]
        hidden = torch.relu(linear(w, f"{at}.linear1", members))
        members = functional.layer_norm(members + linear(w, f"{at}.linear2", hidden), *norms)
    value = torch.tanh(linear(w, f"{name}.attention.value", members))
    gate = torch.sigmoid(linear(w, f"{name}.attention.gate", members))
    weights = linear(w, f"{name}.attention.score", value * gate)[:, 0].softmax(0)
    return torch.relu(linear(w, f"{name}.last.0", weights @ members))


@pytest.mark.parametrize("n_patches", [1, 13])
def test_the_logits_are_its_steps(n_patches):
    system = make_system("mcat", n_groups=3)
    w, features, genes = weights_of(system), draw(n_patches, FEATURE_DIM), draw(N_GENES, seed=1)

    logits = system(features, genes)

    groups = []
    for number, first in enumerate((0, 8, 16)):
        own = genes[first : first + 8]
        for layer in (0, 3):
            own = functional.selu(linear(w, f"groups.{number}.{layer}", own))
        groups.append(own)
    groups = torch.stack(groups)
    patches = torch.relu(linear(w, "embed.0", features))
    seen = attended(w, "co_attention", groups, patches, n_heads=1)
    both = torch.cat([pooled(w, "image", seen), pooled(w, "genes", groups)])
    both = torch.relu(linear(w, "fusion.2", torch.relu(linear(w, "fusion.0", both))))
    torch.testing.assert_close(logits.detach(), linear(w, "head", both), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("n_groups", "n_genes"), [(0, 779), (4, 23), (4, 5), (1, 1)])
def test_its_groups_are_those_of_groupmsa(n_groups, n_genes):
    config = small_config(n_groups=n_groups, modalities="slides+genes", system="mcat")
    encoder = GroupMSA.from_config(config, n_genes=n_genes)

    system = make_system("mcat", n_groups=n_groups)
    system = type(system)(config, feature_dim=7, n_genes=n_genes, n_classes=2)

    size = encoder.genes_per_group
    expected = [min(size, n_genes - first) for first in range(0, n_genes, size)]
    assert system.genes_per_group == size
    assert [group[0].in_features for group in system.groups] == expected


def test_the_order_of_the_patches_does_not_count_and_that_of_the_genes_does():
    system = make_system("mcat", n_groups=3)
    features, genes = draw(13, FEATURE_DIM), draw(N_GENES, seed=1)

    logits = system(features, genes)

    torch.testing.assert_close(system(features.flip(0), genes), logits, rtol=0, atol=1e-12)
    assert (system(features, genes.flip(0)) - logits).abs().max() > 1e-4
