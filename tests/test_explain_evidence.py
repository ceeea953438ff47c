"""Attributions against closed forms, naive loops and the model's own output."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gimp_plugin.explain.evidence import Evidence, classified, integrated, log_odds
from gimp_plugin.explain.genes import attribute_genes, by_group, means_of_others
from gimp_plugin.explain.patches import attribute, occlude, parts
from gimp_plugin.models.gimp import GimpModel
from tests.model_factory import FEATURE_DIM, draw, make_model, small_config

N_GENES, SIZES = 23, (13, 8)


def model_of(**changes):
    return (
        make_model(small_config(**changes), n_genes=N_GENES).double().eval().requires_grad_(False)
    )


def evidence_of(model, *, sizes=SIZES, temperature=1.7, has_genes=True):
    with torch.no_grad():
        tokens = torch.cat(list(model.tokens([draw(sum(sizes), FEATURE_DIM)])))
        cls_ge = model.encode_genes(draw(1, N_GENES, seed=3)) if has_genes else None
    return Evidence(model=model, tokens=tokens, sizes=sizes, cls_ge=cls_ge, temperature=temperature)


def naive_path(score, inputs, baseline, target, n_steps):
    """Midpoint rule, one point after the other."""
    total = torch.zeros_like(inputs)
    for step in range(n_steps):
        point = (baseline + (step + 0.5) / n_steps * (inputs - baseline)).requires_grad_()
        (gradient,) = torch.autograd.grad(score(point)[0, target], point)
        total += gradient / n_steps
    return ((inputs - baseline) * total)[0]


def test_log_odds_are_those_of_the_softmax():
    logits = draw(4, 3)

    odds = log_odds(logits)

    p = logits.softmax(dim=1)
    assert torch.allclose(odds, (p / (1 - p)).log(), atol=1e-12)
    assert torch.allclose(odds, log_odds(logits + 5.0), atol=1e-12)


def test_integrated_gradients_of_a_quadratic_form_are_the_closed_form():
    half = draw(5, 5)
    form, inputs, start = half + half.T, draw(1, 5, seed=1), draw(1, 5, seed=2)

    def score(x):
        return torch.stack([torch.einsum("bi,ij,bj->b", x, form, x), x.sum(dim=1)], dim=1)

    found = integrated(score, inputs, start, target=0, n_steps=3)

    expected = (inputs - start) * ((inputs + start) @ form)
    assert torch.allclose(found, expected[0], atol=1e-6)  # captum's weights are float32


@pytest.mark.parametrize("aggregator", ["nystrom", "abmil"])
def test_attributions_of_patches_are_those_of_a_naive_loop_and_complete(aggregator):
    evidence = evidence_of(model_of(aggregator=aggregator))

    found = attribute(evidence, 2, n_steps=24, max_patches=99)

    tokens = evidence.tokens[None]
    start = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
    naive = naive_path(evidence.of_tokens(SIZES), tokens, start, 2, 50)
    assert np.allclose(found.values, naive.sum(dim=-1).numpy(), atol=1e-4)  # of about 0.1
    assert abs(found.error) < 1e-5
    assert found.full == pytest.approx(evidence.of_rows(np.arange(21))[2], abs=1e-12)


def test_a_large_bag_is_attributed_in_interleaved_parts():
    evidence = evidence_of(model_of(), sizes=(11, 6))

    found = attribute(evidence, 0, n_steps=12, max_patches=6)

    mean = evidence.tokens.mean(dim=0)
    for rows in parts(17, max_patches=6):
        tokens = evidence.tokens[rows][None]
        sizes = [int((rows < 11).sum()), int((rows >= 11).sum())]
        alone = naive_path(evidence.of_tokens(sizes), tokens, mean.expand(1, len(rows), -1), 0, 30)
        assert np.allclose(found.values[rows], alone.sum(dim=-1).numpy() / 3, atol=3e-4)
    assert found.error == pytest.approx(found.values.sum() - found.full + found.baseline)


def test_occlusion_is_the_loss_without_each_region_shared_by_its_patches():
    evidence = evidence_of(model_of())
    regions = np.arange(21) // 6

    found = occlude(evidence, 1, regions, full=4.0)

    for region in range(4):
        left = np.flatnonzero(regions != region)
        loss = 4.0 - evidence.of_rows(left)[1]
        assert found[regions == region] == pytest.approx(loss / (regions == region).sum(), rel=1e-6)


def test_a_case_of_one_region_has_no_occlusion():
    evidence = evidence_of(model_of(), sizes=(1,))

    assert np.isnan(occlude(evidence, 1, np.zeros(1, np.int64), full=1.0)).all()


def test_attention_is_the_mean_over_heads_in_even_shares():
    model = model_of()
    features = draw(21, FEATURE_DIM)

    found = evidence_of(model).attention()

    _, by_head = model.attend_slides([features], list(SIZES))
    assert np.allclose(found, by_head.numpy().mean(axis=0) * 21, rtol=1e-5, atol=1e-6)


def test_what_is_left_of_a_bag_is_the_bag_that_was_never_larger():
    model = model_of()
    evidence = evidence_of(model, has_genes=False)
    rows = np.array([0, 3, 4, 9, 14, 20])

    found = evidence.of_rows(rows)

    cls_img = model.stream_slides([draw(21, FEATURE_DIM)[rows]], [4, 2])
    logits = model.classify(cls_img, None, torch.tensor([True]), torch.tensor([False]))
    assert np.allclose(found, log_odds(logits / 1.7)[0].detach().numpy(), atol=1e-12)


@pytest.mark.parametrize(("has_slides", "at_means"), [(True, True), (True, False), (False, True)])
def test_genes_are_complete_and_those_of_a_naive_loop(has_slides, at_means):
    model, genes = model_of(), draw(N_GENES, seed=5)
    cls_img = draw(1, model.dim, seed=6) if has_slides else None
    starts = draw(3, N_GENES, seed=7) if at_means else torch.zeros(3, N_GENES, dtype=torch.float64)
    reference = starts if at_means else None

    found = attribute_genes(model, genes, cls_img, temperature=1.3, n_steps=24, reference=reference)

    def score(some):
        return classified(model, cls_img, model.encode_genes(some), temperature=1.3)

    naive = [
        naive_path(score, genes[None], start[None], target, 60)
        for target, start in enumerate(starts)
    ]
    assert np.allclose(found.values, torch.stack(naive).numpy(), atol=1e-3)  # of up to 0.7
    begun = torch.stack([score(start[None])[0, target] for target, start in enumerate(starts)])
    gained = (score(genes[None])[0] - begun).detach().numpy()
    assert np.allclose(found.error, found.values.sum(axis=1) - gained, atol=1e-6)
    assert np.abs(found.error).max() < 1e-4


class Linear(GimpModel):
    """Logits that are sums over genes, and nothing else."""

    def __init__(self, weights):
        torch.nn.Module.__init__(self)
        self.weights = torch.nn.Parameter(weights, requires_grad=False)

    def encode_genes(self, genes):
        return genes

    def classify(self, cls_img, cls_ge, has_slides, has_genes):
        return cls_ge @ self.weights.T


def test_of_a_linear_model_a_gene_adds_its_weight_times_its_distance_from_the_reference():
    weights, genes, means = draw(2, 7), draw(7, seed=1), draw(2, 7, seed=2)
    reference = torch.from_numpy(means_of_others(means.float().numpy())).double()

    found = attribute_genes(
        Linear(weights), genes, None, temperature=2.0, n_steps=3, reference=reference
    )

    for own, other in ((0, 1), (1, 0)):  # log-odds of two classes are a difference of logits
        expected = (weights[own] - weights[other]) / 2.0 * (genes - means[other])
        assert np.allclose(found.values[own], expected.numpy(), atol=1e-5)
    assert np.abs(found.error).max() < 1e-5


def test_a_class_is_compared_with_the_others_each_of_them_weighing_alike():
    means = draw(3, 5).float().numpy()

    found = means_of_others(means)

    assert np.allclose(found[1], (means[0] + means[2]) / 2, atol=1e-7)
    assert np.array_equal(means_of_others(means[:2]), means[:2][::-1])


def test_groups_are_sums_over_their_genes():
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    groups = np.array([0, 2, 0, 1, 2, 2])

    assert by_group(values, groups, n_groups=3).tolist() == [[2, 3, 10], [14, 9, 28]]
