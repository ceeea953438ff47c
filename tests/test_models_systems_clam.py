"""CLAM against its definition: the attention, and what the instance loss takes."""

from __future__ import annotations

import math

import pytest
import torch

from gimp_plugin.models.system import loss_of
from tests.model_factory import FEATURE_DIM, N_CLASSES, draw
from tests.system_factory import make_system, weights_of


def naive(name, system, features):
    """Embedded patches, attention by branch, and logits."""
    w = weights_of(system)
    patches = [torch.relu(w["embed.0.weight"] @ h + w["embed.0.bias"]) for h in features]
    raw = [
        w["attention.score.weight"]
        @ (
            torch.tanh(w["attention.value.weight"] @ h + w["attention.value.bias"])
            * torch.sigmoid(w["attention.gate.weight"] @ h + w["attention.gate.bias"])
        )
        + w["attention.score.bias"]
        for h in patches
    ]
    weights = []
    for branch in range(N_CLASSES if name == "clam-mb" else 1):
        exp = [math.exp(one[branch]) for one in raw]
        weights.append([one / sum(exp) for one in exp])
    pooled = [sum(a * h for a, h in zip(row, patches, strict=True)) for row in weights]
    logits = [
        w["head.weight"][c] @ pooled[c if name == "clam-mb" else 0] + w["head.bias"][c]
        for c in range(N_CLASSES)
    ]
    return patches, weights, torch.stack(logits)


def smooth_svm(logits, truth):
    """log(exp(s_y) + exp(s_other + 1)) - s_y"""
    scores = logits.tolist()
    right, wrong = scores[truth], scores[1 - truth]
    return math.log(math.exp(right) + math.exp(wrong + 1)) - right


def naive_loss(name, system, features, label):
    """.7 of the bag's cross-entropy and .3 of the instance losses, class by class."""
    patches, weights, logits = naive(name, system, features)
    n_each = min(8, max(1, len(features) // 2))
    losses = []
    for c, classifier in enumerate(system.instance):
        attention = weights[c if name == "clam-mb" else 0]
        ranked = sorted(range(len(patches)), key=lambda at, a=attention: -a[at])
        most = [classifier(patches[at]) for at in ranked[:n_each]]
        least = [classifier(patches[at]) for at in ranked[-n_each:]]
        taken = [smooth_svm(one, 1 if c == label else 0) for one in most]
        taken += [smooth_svm(one, 0) for one in least] if c == label else []
        losses.append(sum(taken) / len(taken))
    return 0.7 * -float(logits.log_softmax(0)[label]) + 0.3 * sum(losses) / len(losses)


@pytest.mark.parametrize("name", ["clam-sb", "clam-mb"])
@pytest.mark.parametrize("n_patches", [1, 7, 23])
def test_the_logits_and_the_loss_are_their_definition(name, n_patches):
    system, features = make_system(name), draw(n_patches, FEATURE_DIM)

    losses = [
        float(loss_of(system, features, None, torch.tensor(c)).detach()) for c in range(N_CLASSES)
    ]

    _, weights, logits = naive(name, system, features)
    torch.testing.assert_close(system(features, None).detach(), logits, rtol=0, atol=1e-12)
    expected = torch.tensor(weights, dtype=torch.float64)
    torch.testing.assert_close(system.attend(features), expected, rtol=0, atol=1e-12)
    assert losses == pytest.approx(
        [naive_loss(name, system, features, c) for c in range(N_CLASSES)], abs=1e-12
    )


def test_one_branch_has_one_attention_for_all_classes():
    one, many = make_system("clam-sb"), make_system("clam-mb")
    features = draw(13, FEATURE_DIM)

    assert (len(one.attend(features)), len(many.attend(features))) == (1, N_CLASSES)
