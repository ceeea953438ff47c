"""Embedding of visible patches, and what reconstructions are measured against."""

from __future__ import annotations

import pytest
import torch

from gimp_plugin.models.patches import Decoder, PatchEmbedding
from gimp_plugin.models.places import picked
from tests.model_factory import draw, prefix


def make_embedding(norm: str = "layer") -> PatchEmbedding:
    """An embedding with repeatable weights, in float64."""
    torch.manual_seed(3)
    return PatchEmbedding(11, 6, norm=norm).double()


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_embedding_the_visible_is_embedding_all_and_replacing_the_masked(norm):
    embedding, valid = make_embedding(norm), prefix([7, 4])
    features = 3 + 2 * draw(2, 7, 11)
    masked = valid & (torch.arange(7) % 3 == 0)

    tokens = embedding(features, picked(valid & ~masked))

    every = embedding(features)
    expected = torch.where(masked[..., None], embedding.mask_token, every)
    torch.testing.assert_close(tokens[valid], expected[valid], rtol=0, atol=1e-14)


def test_masked_features_reach_no_token():
    embedding, valid = make_embedding(), prefix([7, 4])
    masked = valid & (torch.arange(7) % 2 == 1)
    features = draw(2, 7, 11)
    other = torch.where(masked[..., None], 1e3, features)

    assert torch.equal(
        embedding(features, picked(valid & ~masked)), embedding(other, picked(valid & ~masked))
    )


def test_each_patch_is_normalised_over_its_features():
    normal = make_embedding().normalise(5 + 3 * draw(2, 7, 11))

    torch.testing.assert_close(normal.mean(dim=-1), torch.zeros(2, 7).double(), rtol=0, atol=1e-12)
    variance = normal.var(dim=-1, correction=0)
    torch.testing.assert_close(variance, torch.ones(2, 7).double(), rtol=0, atol=1e-5)


def test_raw_features_stay_as_they_are_but_for_their_type():
    features = draw(2, 7, 11).half()

    assert torch.equal(make_embedding("none").normalise(features), features.double())


def test_a_patch_whose_features_are_all_equal_is_zero():
    assert (make_embedding().normalise(torch.full((1, 1, 11), 4.0)) == 0).all()


def test_the_mask_token_learns_from_masked_patches_only():
    embedding, valid = make_embedding(), prefix([7, 4])
    direction = draw(2, 7, 6)
    masked = valid & (torch.arange(7) % 2 == 1)

    (embedding(draw(2, 7, 11), picked(valid & ~masked)) * direction)[valid].sum().backward()

    torch.testing.assert_close(embedding.mask_token.grad, direction[masked].sum(dim=0))


def test_the_decoder_is_a_norm_and_a_linear_layer():
    decoder = Decoder(6, 11).double()
    hidden = draw(5, 6)

    decoded = decoder(hidden)

    centred = hidden - hidden.mean(dim=1, keepdim=True)
    normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    expected = normed @ decoder[1].weight.T + decoder[1].bias
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("width", "hidden_width"), [(0, 6), (9, 9)])
def test_a_deeper_decoder_has_hidden_layers_of_its_width(width, hidden_width):
    decoder = Decoder(6, 11, depth=2, width=width).double()
    hidden = draw(5, 6)

    first, second, last = (layer for layer in decoder if isinstance(layer, torch.nn.Linear))
    assert [tuple(layer.weight.shape) for layer in (first, second, last)] == [
        (hidden_width, 6),
        (hidden_width, hidden_width),
        (11, hidden_width),
    ]
    expected = torch.nn.functional.layer_norm(hidden, (6,))
    for layer in (first, second):
        before = expected @ layer.weight.T + layer.bias
        expected = before * (1 + torch.erf(before / 2**0.5)) / 2
    expected = expected @ last.weight.T + last.bias
    torch.testing.assert_close(decoder(hidden), expected, rtol=0, atol=1e-12)
