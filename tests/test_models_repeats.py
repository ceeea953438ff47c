"""Tokens that are alike are projected once, and the model is the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gimp_plugin.models.aggregator import NystromAggregator
from gimp_plugin.models.masking import draw_mask
from gimp_plugin.models.repeats import Repeats
from tests.model_factory import draw, prefix, small_config

LENGTHS = [1, 3, 6, 17, 40]


def make_batch():
    """Ragged bags in which every hidden patch is one token; the first bag hides nothing."""
    valid = prefix(LENGTHS)
    masked = draw_mask(valid, 0.5, torch.Generator().manual_seed(4))
    leaves = [draw(20, seed=9).requires_grad_(), draw(5, 40, 20).requires_grad_()]
    tokens = torch.where(masked[..., None], *leaves)
    slide = (torch.arange(40) >= 11).long().expand(5, -1)
    return tokens, valid, masked, slide, leaves


def test_each_token_is_like_the_one_that_stands_for_it():
    _, valid, masked, *_ = make_batch()
    valid, masked = valid[:, :30], masked[:, :30]

    repeats = Repeats.of(valid, masked)

    kinds = torch.where(valid, torch.arange(30), -1).masked_fill(masked, -2)
    for bag, (rows, place) in enumerate(zip(repeats.rows, repeats.place, strict=True)):
        assert torch.equal(kinds[bag][rows[place]], kinds[bag])
        used = rows[: int(place.max()) + 1]
        assert len(used) == len(kinds[bag].unique())
    assert repeats.rows.shape[1] == max(len(kinds[bag].unique()) for bag in range(5))


@pytest.mark.parametrize("preset", ["recommended", "paper"])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_with_hidden_tokens_taken_together_nothing_changes(preset, n_layers):
    torch.manual_seed(2)
    config = small_config(preset=preset, n_layers=n_layers)
    aggregator = NystromAggregator.from_config(config).double().eval()
    tokens, valid, masked, slide, leaves = make_batch()

    results = []
    for hidden in (None, masked):
        plan = aggregator.plan(valid, slide=slide, rows=masked, masked=hidden)
        cls_img, patches = aggregator(tokens, valid, slide=slide, rows=masked, plan=plan)
        loss = cls_img.square().sum() + patches.sin().sum()
        inputs = [*leaves, *aggregator.parameters()]
        gradients = torch.autograd.grad(loss, inputs, retain_graph=True)
        results.append((cls_img, patches, *gradients))

    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_hidden_tokens_are_projected_once(monkeypatch):
    torch.manual_seed(2)
    aggregator = NystromAggregator.from_config(small_config()).double()
    tokens, valid, masked, slide, _ = make_batch()
    seen, linear = [], functional.linear
    of_first = aggregator.layers[0].attention.to_qkv.weight.untyped_storage().data_ptr()

    def counted(x, weight, *rest):
        if weight.untyped_storage().data_ptr() == of_first:
            seen.append((x.shape[1], weight.shape[0] // aggregator.dim))
        return linear(x, weight, *rest)

    monkeypatch.setattr(functional, "linear", counted)
    plan = aggregator.plan(valid, slide=slide, rows=masked, masked=masked)
    aggregator(tokens, valid, slide=slide, rows=masked, plan=plan)

    n_tokens = 1 + 20 + 1  # CLS, the visible half of 40, the mask token
    queries, keys_and_values = 1, 2
    assert [one for one in seen if one[0] != 7] == [  # 7 landmarks
        (n_tokens, keys_and_values),
        (n_tokens, queries),
    ]
