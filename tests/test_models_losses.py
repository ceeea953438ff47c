"""Losses against loops in float64, and where there is nothing to learn from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.models.losses import masked_l1, patient_embedding, triplet_loss
from tests.model_factory import EXAMPLES, draw

MARGIN = 0.8


def looped(embeddings, labels) -> tuple[float, float, float, float]:
    """The triplet loss and its state by three loops; -1 is no class."""
    losses, positive, negative = [], [], []
    for anchor, x in enumerate(embeddings):
        for other, y in enumerate(embeddings):
            if anchor == other or labels[anchor] < 0 or labels[other] < 0:
                continue
            distance = float(((x - y) ** 2).sum())
            (positive if labels[anchor] == labels[other] else negative).append(distance)
            if labels[anchor] != labels[other]:
                continue
            for third, z in enumerate(embeddings):
                if labels[third] >= 0 and labels[third] != labels[anchor]:
                    gap = distance + MARGIN - float(((x - z) ** 2).sum())
                    losses.append(max(gap, 0.0))
    active = [loss for loss in losses if loss > 0]

    def mean(values):
        return sum(values) / len(values) if values else 0.0

    share = len(active) / len(losses) if losses else 0.0
    return mean(active), share, mean(positive), mean(negative)


@EXAMPLES
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=9), st.integers(0, 99))
def test_triplets_are_those_of_a_triple_loop(labels, seed):
    embeddings = draw(len(labels), 3, seed=seed)

    triplet = triplet_loss(embeddings, torch.tensor(labels), margin=MARGIN)

    expected = looped(embeddings, labels)
    assert [value.item() for value in triplet] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_case_without_a_label_gets_no_gradient_and_changes_none():
    embeddings, labels = draw(6, 3).requires_grad_(), torch.tensor([0, -1, 1, 0, -1, 1])
    known = embeddings.detach()[labels >= 0].clone().requires_grad_()

    triplet_loss(embeddings, labels, margin=MARGIN).loss.backward()
    triplet_loss(known, labels[labels >= 0], margin=MARGIN).loss.backward()

    assert torch.equal(embeddings.grad[labels < 0], torch.zeros(2, 3, dtype=embeddings.dtype))
    torch.testing.assert_close(embeddings.grad[labels >= 0], known.grad, rtol=1e-12, atol=1e-14)
    assert known.grad.abs().max() > 0


def test_the_triplet_gradient_is_right():
    labels = torch.tensor([0, 1, 0, 2, 1])

    def loss(embeddings):
        return triplet_loss(embeddings, labels, margin=MARGIN).loss

    assert torch.autograd.gradcheck(loss, (draw(5, 3).requires_grad_(),))


@pytest.mark.parametrize(
    ("embeddings", "labels"),
    [
        (draw(4, 3), [1, 1, 1, 1]),  # one class: no negative
        (draw(1, 3), [0]),  # one case
        (draw(3, 3), [0, 1, 2]),  # no positive
        (draw(5, 3), [-1, 0, -1, 0, -1]),  # nothing is known of what might be negative
        (draw(4, 3), [-1, -1, -1, -1]),
        (torch.tensor([[0.0], [0.1], [9.0]]), [0, 0, 1]),  # nothing violates the margin
    ],
)
def test_without_an_active_triplet_the_loss_is_zero_and_has_a_gradient(embeddings, labels):
    embeddings = embeddings.clone().requires_grad_()

    triplet = triplet_loss(embeddings, torch.tensor(labels), margin=MARGIN)
    triplet.loss.backward()

    assert triplet.loss.item() == triplet.active_share.item() == 0.0
    assert (embeddings.grad == 0).all()


def test_coincident_embeddings_give_the_margin_and_finite_gradients():
    embeddings = torch.ones(4, 3, requires_grad=True)

    triplet = triplet_loss(embeddings, torch.tensor([0, 0, 1, 1]), margin=MARGIN)
    triplet.loss.backward()

    assert triplet.loss.item() == pytest.approx(MARGIN)
    assert triplet.active_share.item() == 1.0
    assert embeddings.grad.isfinite().all()


def test_halves_are_scaled_to_unit_length_one_by_one():
    embedding = patient_embedding(5 * draw(3, 4), 7 * draw(3, 4, seed=1), normalise=True)

    lengths = embedding.unflatten(1, (2, 4)).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(3, 2).double(), rtol=0, atol=1e-12)


def test_raw_halves_stand_side_by_side():
    image, genes = draw(3, 4), draw(3, 4, seed=1)

    embedding = patient_embedding(image, genes, normalise=False)

    assert torch.equal(embedding[:, :4], image)
    assert torch.equal(embedding[:, 4:], genes)


def test_a_half_of_zeros_has_a_finite_gradient():
    image = torch.zeros(2, 3, requires_grad=True)

    patient_embedding(image, torch.ones(2, 3), normalise=True).sum().backward()

    assert image.grad.isfinite().all()


@EXAMPLES
@given(st.integers(1, 9), st.integers(1, 9))
def test_the_mean_grows_neither_with_the_patches_nor_with_the_features(n_patches, n_features):
    features = draw(n_patches, n_features)
    signs = torch.sign(draw(n_patches, n_features, seed=1))

    error = masked_l1(features + 0.75 * signs, features)
    summed = masked_l1(features + 0.75 * signs, features, reduction="sum")

    assert error.item() == pytest.approx(0.75)
    assert summed.item() == pytest.approx(0.75 * n_patches * n_features)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_where_nothing_was_masked_the_loss_is_zero_and_has_a_gradient(reduction):
    predicted = torch.zeros(0, 5, requires_grad=True)

    loss = masked_l1(predicted, torch.zeros(0, 5), reduction=reduction)
    loss.backward()

    assert loss.item() == 0.0
    assert predicted.grad.shape == (0, 5)
