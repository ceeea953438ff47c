"""Fusion of halves, some of which are missing, and the heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gimp_plugin.models.fusion import Concat
from gimp_plugin.models.heads import linear, mlp
from tests.model_factory import draw, small_config

HAS_SLIDES = torch.tensor([True, False, True])
HAS_GENES = torch.tensor([True, True, False])


def make_fusion(modalities: str = "slides+genes") -> Concat:
    """A fusion with repeatable tokens, in float64."""
    torch.manual_seed(6)
    return Concat.from_config(small_config(modalities=modalities, dim=5)).double()


def test_a_token_stands_for_each_missing_half():
    fusion, image, genes = make_fusion(), draw(3, 5), draw(3, 5, seed=1)

    fused = fusion(image, genes, HAS_SLIDES, HAS_GENES)

    expected = torch.stack(
        [
            torch.cat([image[0], genes[0]]),
            torch.cat([fusion.slides_token, genes[1]]),
            torch.cat([image[2], fusion.genes_token]),
        ]
    )
    assert torch.equal(fused, expected)


def test_tokens_learn_from_the_cases_that_lack_a_half_only():
    fusion, direction = make_fusion(), draw(3, 10, seed=2)

    fused = fusion(draw(3, 5), draw(3, 5, seed=1), HAS_SLIDES, HAS_GENES)
    (fused * direction).sum().backward()

    assert torch.equal(fusion.slides_token.grad, direction[1, :5])
    assert torch.equal(fusion.genes_token.grad, direction[2, 5:])


def test_what_stands_in_for_a_missing_half_is_of_no_consequence():
    fusion, genes = make_fusion(), draw(3, 5, seed=1)
    image = draw(3, 5)
    image[1] = torch.nan
    image.requires_grad_()

    fused = fusion(image, genes, HAS_SLIDES, HAS_GENES)
    fused.sum().backward()

    assert fused.isfinite().all()
    assert image.grad.isfinite().all()


def test_a_half_that_nobody_has_is_none():
    fusion, genes, nobody = make_fusion(), draw(3, 5), torch.zeros(3, dtype=torch.bool)

    fused = fusion(None, genes, nobody, ~nobody)

    expected = fusion(torch.zeros_like(genes), genes, nobody, ~nobody)
    assert torch.equal(fused, expected)


@pytest.mark.parametrize(
    ("modalities", "n_halves"), [("slides+genes", 2), ("slides", 1), ("genes", 1)]
)
def test_the_configuration_decides_which_halves_there_are(modalities, n_halves):
    fusion = make_fusion(modalities)
    image = draw(3, 5) if "slides" in modalities else None
    genes = draw(3, 5) if "genes" in modalities else None

    fused = fusion(image, genes, HAS_SLIDES, HAS_GENES)

    assert fused.shape == (3, fusion.out_dim) == (3, 5 * n_halves)


def test_the_linear_head_is_linear_in_evaluation():
    head = linear(small_config(), in_dim=10, n_classes=3).double().eval()
    embedding = draw(4, 10)

    logits = head(embedding)

    torch.testing.assert_close(logits, embedding @ head.linear.weight.T + head.linear.bias)


@pytest.mark.parametrize("make_head", [linear, mlp])
def test_heads_drop_out_the_embedding_in_training(make_head):
    head = make_head(small_config(embedding_dropout=0.9, head_dropout=0.0), in_dim=10, n_classes=3)

    logits = head(torch.ones(50, 10))

    assert len(torch.unique(logits.detach(), dim=0)) > 1


def test_the_mlp_head_is_two_layers_with_gelu():
    head = mlp(small_config(), in_dim=10, n_classes=3).double().eval()
    embedding = draw(4, 10)

    hidden = nn.functional.gelu(head[1](embedding))

    assert head[1].weight.shape == (20, 10)
    torch.testing.assert_close(head(embedding), head[4](hidden))


def test_a_linear_head_can_start_from_a_classifier_of_its_last_values():
    head = linear(small_config(), in_dim=10, n_classes=3).eval()
    before, classifier = head.linear.weight.detach().clone(), nn.Linear(4, 3)

    head.start_from(classifier)

    genes = torch.cat([torch.zeros(5, 6), draw(5, 4, dtype=torch.float32)], dim=1)
    torch.testing.assert_close(head(genes), classifier(genes[:, 6:]))
    assert torch.equal(head.linear.weight[:, :6], before[:, :6])
    assert head.linear.weight.requires_grad
