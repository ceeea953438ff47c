"""Attention in bf16 on a CPU, which torch's kernel does not compute, against float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from gimp_plugin.models.attend import attend
from tests.model_factory import draw


def make_mask(kind):
    """Leaves the last 3 of 11 keys of the second bag out, or weighs its keys."""
    some = torch.ones(2, 1, 1, 11, dtype=torch.bool)
    some[1, ..., 8:] = False
    return {"none": None, "bool": some, "float": some.float().log() + draw(2, 1, 1, 11, seed=3)}[
        kind
    ]


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
def test_bf16_is_within_its_rounding_of_float64(kind):
    precise = [draw(2, 3, n, 5, seed=n).requires_grad_() for n in (7, 11, 11)]
    mask = make_mask(kind)
    rounded = [one.detach().bfloat16().requires_grad_() for one in precise]
    narrow = mask.bfloat16() if kind == "float" else mask

    with torch.autocast("cpu", torch.bfloat16):
        ours = attend(*rounded, narrow)

    truth = scaled_dot_product_attention(*precise, attn_mask=mask)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), truth, rtol=0, atol=0.03)
    gradients = torch.autograd.grad(ours.sin().sum(), rounded)
    expected = torch.autograd.grad(truth.sin().sum(), precise)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=0.06)


def test_keys_that_are_left_out_are_of_no_consequence():
    q, k, v = (draw(2, 3, n, 5, seed=n).bfloat16() for n in (7, 11, 11))
    other = v.clone()
    other[1, :, 8:] = 1000.0

    assert torch.equal(
        attend(q, k, v, make_mask("bool"))[1], attend(q, k, other, make_mask("bool"))[1]
    )
