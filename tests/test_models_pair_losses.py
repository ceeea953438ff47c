"""Losses of pairs against loops in float64, and where there is nothing to learn from."""

from __future__ import annotations

import math

import pytest
import torch

from gimp_plugin.models.pair_losses import (
    contrastive_loss,
    prototype_loss,
    retrieval,
    soft_codes,
    squared_error,
    token_alignment,
)
from gimp_plugin.training.ranks import Ranks
from tests.model_factory import draw, prefix

TEMPERATURE = 0.3


def cosine(one, other):
    return float(one @ other / (one.norm() * other.norm()))


def softmax(values):
    exponents = [math.exp(value) for value in values]
    return [value / sum(exponents) for value in exponents]


def looped_contrast(slides, genes, share):
    total = 0.0
    for own in range(len(slides)):
        to_genes = [cosine(slides[own], one) / TEMPERATURE for one in genes]
        to_slides = [cosine(one, genes[own]) / TEMPERATURE for one in slides]
        total -= share * math.log(softmax(to_genes)[own])
        total -= (1 - share) * math.log(softmax(to_slides)[own])
    return total / len(slides)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_the_contrast_is_that_of_loops_over_both_directions(share):
    slides, genes = draw(5, 3), draw(5, 3, seed=1)

    found = contrastive_loss(slides, genes, temperature=TEMPERATURE, slides_share=share)

    assert found.item() == pytest.approx(looped_contrast(slides, genes, share), rel=1e-12)
    other = contrastive_loss(genes, slides, temperature=TEMPERATURE, slides_share=1 - share)
    assert found.item() == pytest.approx(other.item(), rel=1e-12)


@pytest.mark.parametrize("n_cases", [2, 7])
def test_the_contrast_of_perfect_pairs_has_a_closed_form(n_cases):
    one_hot = torch.eye(n_cases, dtype=torch.float64)

    found = contrastive_loss(3 * one_hot, 5 * one_hot, temperature=TEMPERATURE)

    expected = math.log(1 + (n_cases - 1) * math.exp(-1 / TEMPERATURE))
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_a_single_case_has_nothing_to_be_told_from():
    slides = draw(1, 3).requires_grad_()

    loss = contrastive_loss(slides, draw(1, 3, seed=1), temperature=TEMPERATURE)
    loss.backward()

    assert loss.item() == 0
    assert torch.equal(slides.grad, torch.zeros_like(slides))


def test_the_gradients_are_right():
    slides, genes = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    tokens, others = draw(2, 4, 3).requires_grad_(), draw(2, 3, 3, seed=1).requires_grad_()
    valid, valid_others = prefix([4, 2]), prefix([2, 3])

    def contrast(one, other):
        return contrastive_loss(one, other, temperature=TEMPERATURE, slides_share=0.75)

    def alignment(one, other):
        given = {"valid": valid, "valid_others": valid_others, "temperature": TEMPERATURE}
        return token_alignment(one, other, **given).sum()

    assert torch.autograd.gradcheck(contrast, (slides, genes))
    assert torch.autograd.gradcheck(alignment, (tokens, others))


def test_retrieval_counts_the_cases_behind_the_own():
    slides, genes = draw(7, 3), draw(7, 3, seed=1)
    behind = [
        cosine(slides[own], genes[own]) > other
        for own in range(7)
        for other in (
            *(cosine(slides[own], genes[at]) for at in range(7) if at != own),
            *(cosine(slides[at], genes[own]) for at in range(7) if at != own),
        )
    ]

    assert retrieval(slides, genes) == pytest.approx(sum(behind) / len(behind), rel=1e-12)
    assert retrieval(slides, -slides) == 0
    assert retrieval(slides[:2], slides[:2] * 3) == 1


def test_the_error_of_genes_counts_the_hidden_ones():
    predicted, genes = draw(3, 5), draw(3, 5, seed=1)
    hidden = torch.tensor([[True, False, True, True, False], [False] * 5, [True] * 5])

    found = squared_error(predicted, genes, hidden)

    gaps = ((predicted - genes) ** 2).tolist()
    first = (gaps[0][0] + gaps[0][2] + gaps[0][3]) / 3
    assert found.tolist() == pytest.approx([first, 0, sum(gaps[2]) / 5], rel=1e-12)
    every = squared_error(predicted, genes)
    assert every.tolist() == pytest.approx([sum(row) / 5 for row in gaps], rel=1e-12)


def looped_alignment(tokens, others):
    """One case: each token attends, and what tokens get is compared in both directions."""
    seen = []
    for token in tokens:
        weights = softmax([cosine(token, other) / TEMPERATURE for other in others])
        seen.append(sum(w * o / o.norm() for w, o in zip(weights, others, strict=True)))
    total = 0.0
    for own in range(len(tokens)):
        row = [cosine(tokens[own], one) / TEMPERATURE for one in seen]
        column = [cosine(one, seen[own]) / TEMPERATURE for one in tokens]
        total -= (math.log(softmax(row)[own]) + math.log(softmax(column)[own])) / 2
    return total / len(tokens)


def test_the_alignment_of_tokens_is_that_of_loops_and_padding_is_not_read():
    sizes, other_sizes = [5, 1, 3], [2, 4, 3]
    tokens, others = draw(3, 5, 6), draw(3, 4, 6, seed=1)
    valid, valid_others = prefix(sizes), prefix(other_sizes)

    def aligned(one, other):
        given = {"valid": valid, "valid_others": valid_others, "temperature": TEMPERATURE}
        return token_alignment(one, other, **given)

    found = aligned(tokens, others)

    expected = [
        looped_alignment(tokens[row, :n], others[row, :m])
        for row, (n, m) in enumerate(zip(sizes, other_sizes, strict=True))
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert found[1] == 0  # one token is told from nothing
    noise = (
        torch.where(valid[..., None], tokens, 7.0),
        torch.where(valid_others[..., None], others, -9.0),
    )
    assert torch.equal(aligned(*noise), found)


def looped_codes(scores, epsilon, n_iterations):
    """Sinkhorn and Knopp on a list of lists, prototypes as rows."""
    n_cases, n_prototypes = scores.shape
    table = [
        [math.exp(float(scores[case, k]) / epsilon) for case in range(n_cases)]
        for k in range(n_prototypes)
    ]
    for _ in range(n_iterations):
        table = [[value / (sum(row) * n_prototypes) for value in row] for row in table]
        sums = [sum(row[case] for row in table) for case in range(n_cases)]
        table = [[row[case] / (sums[case] * n_cases) for case in range(n_cases)] for row in table]
    return [[row[case] * n_cases for row in table] for case in range(n_cases)]


def test_codes_are_those_of_a_plain_loop_and_share_the_prototypes_out():
    scores = torch.nn.functional.normalize(draw(7, 3)) @ torch.nn.functional.normalize(draw(5, 3)).T

    codes = soft_codes(scores, epsilon=0.05, n_iterations=3)
    settled = soft_codes(scores, epsilon=0.5, n_iterations=500)

    expected = torch.tensor(looped_codes(scores, 0.05, 3), dtype=torch.float64)
    torch.testing.assert_close(codes, expected, rtol=1e-9, atol=1e-15)
    ones = torch.ones(7, dtype=torch.float64)
    torch.testing.assert_close(codes.sum(dim=1), ones, rtol=1e-12, atol=0)
    torch.testing.assert_close(settled.sum(dim=1), ones, rtol=1e-12, atol=0)
    torch.testing.assert_close(settled.sum(dim=0), ones[:5] * 7 / 5, rtol=1e-9, atol=0)


def test_the_loss_of_prototypes_is_a_cross_entropy_and_codes_get_no_gradient():
    scores, other = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    codes = soft_codes(other, epsilon=0.5, n_iterations=3)

    found = prototype_loss(scores, codes, temperature=TEMPERATURE)

    expected = [
        -sum(
            float(codes[case, k]) * math.log(softmax([s / TEMPERATURE for s in row])[k])
            for k in range(5)
        )
        for case, row in enumerate(scores.tolist())
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    found.sum().backward()
    assert other.grad is None
    assert scores.grad.abs().max() > 0


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_that_put_their_rows_back_have_the_gradient_of_one_process(world):
    weight, slides, genes = draw(5, 3).requires_grad_(), draw(7, 5, seed=1), draw(7, 5, seed=2)

    def gradient(of_slides, of_genes):
        loss = contrastive_loss(of_slides, of_genes, temperature=TEMPERATURE)
        return torch.autograd.grad(loss, weight)[0]

    def gathered(rank, inputs):
        every = (inputs @ weight).detach()
        order = [at for one in range(world) for at in (*range(one, 7, world), 0)[: -(-7 // world)]]
        return Ranks(rank, world).put_back(every[order], inputs[rank::world] @ weight, 7)

    parts = [gradient(gathered(rank, slides), gathered(rank, genes)) for rank in range(world)]

    expected = gradient(slides @ weight, genes @ weight)
    assert (torch.stack(parts).sum(dim=0) - expected).abs().max() < 1e-12
    assert expected.abs().max() > 0.01
