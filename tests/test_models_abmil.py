"""Gated attention pooling against its closed form, and what must not change it."""

from __future__ import annotations

import math

import pytest
import torch

from gimp_plugin.models.abmil import GatedAttention
from tests.model_factory import draw, prefix, small_config

LENGTHS = [1, 3, 6, 17, 40]


def make_pooling(**changes) -> GatedAttention:
    """An aggregator with repeatable weights, in float64."""
    torch.manual_seed(2)
    return GatedAttention.from_config(small_config(**changes)).double()


def naive(pooling: GatedAttention, bag: list[list[float]]) -> list[float]:
    """Equation 9 of Ilse et al., number by number."""
    parameters = {name: one.tolist() for name, one in pooling.named_parameters()}

    def affine(name, x):
        rows = zip(parameters[f"{name}.weight"], parameters[f"{name}.bias"], strict=True)
        return [sum(w * v for w, v in zip(row, x, strict=True)) + bias for row, bias in rows]

    scores = []
    for h in bag:
        gated = [
            math.tanh(v) / (1 + math.exp(-u))
            for v, u in zip(affine("value", h), affine("gate", h), strict=True)
        ]
        scores.append(affine("score", gated)[0])
    total = sum(math.exp(score) for score in scores)
    weights = [math.exp(score) / total for score in scores]
    return [sum(a * h[k] for a, h in zip(weights, bag, strict=True)) for k in range(len(bag[0]))]


def test_the_pooling_is_equation_9():
    pooling, tokens = make_pooling(), 3 * draw(2, 7, 20)

    cls_img, _ = pooling(tokens, prefix([7, 7]))

    expected = torch.tensor([naive(pooling, bag.tolist()) for bag in tokens], dtype=torch.float64)
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-13)
    assert (cls_img - tokens.mean(dim=1)).abs().max() > 1e-2


def test_the_order_of_the_patches_does_not_count():
    pooling, tokens = make_pooling(), draw(3, 23, 20)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1))

    cls_img, _ = pooling(tokens, prefix([23, 23, 23]))
    permuted, _ = pooling(tokens[:, order], prefix([23, 23, 23]))

    torch.testing.assert_close(permuted, cls_img, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
def test_a_case_in_a_ragged_batch_is_the_same_as_alone(dtype, tolerance):
    pooling, valid = make_pooling().to(dtype), prefix(LENGTHS)
    tokens = draw(5, 40, 20).to(dtype)

    cls_img, _ = pooling(tokens, valid)

    alone = [
        pooling(tokens[case : case + 1, :length], valid[case : case + 1, :length])[0]
        for case, length in enumerate(LENGTHS)
    ]
    torch.testing.assert_close(cls_img, torch.cat(alone), rtol=0, atol=tolerance)


def test_what_stands_behind_the_mask_changes_no_bit():
    pooling, valid = make_pooling(), prefix(LENGTHS)
    tokens = draw(5, 40, 20)
    other = torch.where(valid[..., None], tokens, 1e6)

    assert torch.equal(pooling(tokens, valid)[0], pooling(other, valid)[0])


def test_a_bag_of_one_patch_is_that_patch():
    tokens = draw(3, 1, 20)

    cls_img, _ = make_pooling()(tokens, prefix([1, 1, 1]))

    torch.testing.assert_close(cls_img, tokens[:, 0], rtol=0, atol=1e-15)


def test_twenty_thousand_patches_are_averaged_as_few_are():
    pooling, tokens = make_pooling(), draw(1, 20_000, 20)
    with torch.no_grad():
        pooling.score.weight.zero_()  # equal weights

    cls_img, _ = pooling(tokens, prefix([20_000]))
    single, _ = pooling.float()(tokens.float(), prefix([20_000]))

    torch.testing.assert_close(cls_img, tokens.mean(dim=1), rtol=0, atol=1e-14)
    torch.testing.assert_close(single.double(), cls_img, rtol=0, atol=1e-6)


def test_one_patch_among_twenty_thousand_can_have_all_the_attention():
    pooling, tokens = make_pooling(), draw(1, 20_000, 20)
    with torch.no_grad():
        pooling.score.weight.mul_(1e3)

    cls_img, _ = pooling(tokens, prefix([20_000]))

    best = pooling.weights(tokens, prefix([20_000])).argmax()
    torch.testing.assert_close(cls_img[0], tokens[0, best], rtol=0, atol=1e-3)


@pytest.mark.parametrize("n_patches", [0, 5])
def test_a_case_without_patches_gets_zeros(n_patches):
    nothing = torch.zeros(1, n_patches, dtype=torch.bool)

    cls_img, patches = make_pooling()(draw(1, n_patches, 20), nothing, rows=nothing)

    assert torch.equal(cls_img, torch.zeros(1, 20, dtype=torch.float64))
    assert patches.shape == (0, 20)


def test_wanted_patches_come_back_as_they_came():
    tokens, valid = draw(5, 40, 20), prefix(LENGTHS)
    rows = valid & (torch.arange(40) % 2 == 1)

    _, patches = make_pooling()(tokens, valid, rows=rows)

    assert torch.equal(patches, tokens[rows])


def test_every_parameter_but_the_shift_of_a_softmax_gets_a_gradient():
    pooling = make_pooling()

    pooling(draw(2, 14, 20), prefix([9, 14]))[0].square().sum().backward()

    moved = {name for name, one in pooling.named_parameters() if one.grad.abs().max() > 1e-12}
    assert moved == {name for name, _ in pooling.named_parameters()} - {"score.bias"}
