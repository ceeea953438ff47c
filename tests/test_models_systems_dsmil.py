"""DSMIL against its definition, patch by patch."""

from __future__ import annotations

import math

import pytest
import torch

from gimp_plugin.models.system import loss_of
from tests.model_factory import FEATURE_DIM, N_CLASSES, draw
from tests.system_factory import make_system, weights_of


def naive(system, features):
    """Logits of both streams, and the weight of each patch by class."""
    w = weights_of(system)
    scores = [w["instance.weight"] @ h + w["instance.bias"] for h in features]
    queries = [w["query.weight"] @ h + w["query.bias"] for h in features]
    values = [w["value.1.weight"] @ h + w["value.1.bias"] for h in features]
    sums, weights = [], []
    for name in range(N_CLASSES):
        critical = max(range(len(features)), key=lambda at, name=name: scores[at][name])
        near = [math.exp(q @ queries[critical] / math.sqrt(len(q))) for q in queries]
        weights.append([one / sum(near) for one in near])
        sums.append(sum(u * v for u, v in zip(weights[-1], values, strict=True)))
    instance = torch.stack(scores).amax(dim=0)
    bag = w["bag.weight"] @ torch.cat(sums) + w["bag.bias"]
    return instance, bag, torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("n_patches", [1, 13])
def test_both_streams_are_their_definition(n_patches):
    system, features = make_system("dsmil"), draw(n_patches, FEATURE_DIM)
    instance, bag, weights = naive(system, features)

    logits = system(features, None).detach()

    torch.testing.assert_close(logits, (instance + bag) / 2, rtol=0, atol=1e-12)
    torch.testing.assert_close(system.attend(features), weights, rtol=0, atol=1e-12)


def test_the_loss_is_the_mean_of_both_streams():
    system, features = make_system("dsmil"), draw(13, FEATURE_DIM)
    instance, bag, _ = naive(system, features)

    loss = loss_of(system, features, None, torch.tensor(2))

    expected = -(instance.log_softmax(0)[2] + bag.log_softmax(0)[2]) / 2
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-12)


def test_each_class_has_a_critical_patch_of_its_own_and_their_order_does_not_count():
    system, features = make_system("dsmil"), draw(23, FEATURE_DIM)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1))

    weights = system.attend(features)

    assert len({tuple(row.tolist()) for row in weights}) == N_CLASSES
    torch.testing.assert_close(system.attend(features[order]), weights[:, order])
    torch.testing.assert_close(system(features[order], None), system(features, None))
