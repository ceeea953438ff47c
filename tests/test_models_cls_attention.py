"""The attention of CLS against the whole matrix, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from nystrom_attention.nystrom_attention import moore_penrose_iter_pinv

from gimp_plugin.errors import PluginError
from tests.model_factory import draw, make_model, small_config
from tests.test_models_streaming import in_memory, make_aggregator, slides_of


def whole_matrix(layer, x):
    """Attention of each head between all tokens, with plain loops over segments and heads."""
    attention, normed = layer.attention, layer.norm(x)[0]
    n_tokens, dim = normed.shape
    heads, m = attention.heads, min(attention.num_landmarks, n_tokens)
    segments = [[t for t in range(n_tokens) if t * m // n_tokens == s] for s in range(m)]
    means = torch.stack([normed[segment].mean(dim=0) for segment in segments])
    to_q, to_k, to_v = attention.to_qkv.weight.chunk(3)
    size = dim // heads
    matrices, values = [], []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        q, k, q_l, k_l = (
            tokens @ weight[own].T
            for tokens, weight in ((normed, to_q), (normed, to_k), (means, to_q), (means, to_k))
        )
        root = math.sqrt(size)
        matrices.append(
            [(a @ b.T / root).softmax(dim=1) for a, b in ((q, k_l), (q_l, k_l), (q_l, k))]
        )
        values.append(normed @ to_v[own].T)
    inner = torch.stack([middle for _, middle, _ in matrices])[None]
    inverse = moore_penrose_iter_pinv(inner, attention.pinv_iterations)[0]
    rows = [left @ z @ right for (left, _, right), z in zip(matrices, inverse, strict=True)]
    return torch.stack(rows), torch.stack(values)


def before_last(aggregator, tokens):
    """CLS and patches of one slide before the last layer, by the forward pass of each layer."""
    x = torch.cat([aggregator.cls_token[None, None], tokens[None]], dim=1)
    for layer in aggregator.layers[:-1]:
        x = layer(x, layer.attention.layout(torch.ones(x.shape[:2], dtype=torch.bool)))
    return x


@pytest.mark.parametrize("chunk", [1, 17, 8192])
@pytest.mark.parametrize("n_patches", [1, 5, 63, 257])
@torch.no_grad()
def test_it_is_the_row_of_cls_in_the_whole_matrix(n_patches, chunk):
    aggregator, tokens = make_aggregator(), draw(n_patches, 20)

    cls_img, attention = aggregator.attend(tokens.split(11), [n_patches], chunk=chunk)

    matrix, _ = whole_matrix(aggregator.layers[-1], before_last(aggregator, tokens))
    torch.testing.assert_close(attention, matrix[:, 0, 1:], rtol=0, atol=1e-12)
    expected = in_memory(aggregator, tokens, [n_patches])
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_attention_times_values_is_what_the_layer_adds_to_cls():
    aggregator, tokens = make_aggregator(), draw(98, 20)
    last, x = aggregator.layers[-1], before_last(aggregator, tokens)

    _, attention = aggregator.attend([tokens], [98])

    matrix, values = whole_matrix(last, x)
    weights = torch.cat([matrix[:, 0, :1], attention], dim=1)
    added = last.attention.to_out((weights[:, None] @ values)[:, 0].reshape(1, -1))
    layout = last.attention.layout(torch.ones(x.shape[:2], dtype=torch.bool))
    torch.testing.assert_close(added, (last(x, layout) - x)[:, 0], rtol=0, atol=1e-12)


@torch.no_grad()
def test_with_blanks_in_front_it_is_linear_in_the_values_all_the_same():
    """The output moves with the value projection of CLS's row alone, whatever the segments."""
    aggregator = make_aggregator(preset="paper", cls_convolution=False, convolution_taps=0)
    tokens = draw(61, 20)
    last, x = aggregator.layers[-1], before_last(aggregator, tokens)

    _, attention = aggregator.attend([tokens], [61], chunk=17)

    _, values = whole_matrix(last, x)
    layout = last.attention.layout(torch.ones(x.shape[:2], dtype=torch.bool))
    given = torch.linalg.solve(
        last.attention.to_out[0].weight,
        ((last(x, layout) - x)[0, 0] - last.attention.to_out[0].bias),
    )
    of_patches = (attention[:, None] @ values[:, 1:])[:, 0].reshape(-1)
    of_cls = given - of_patches
    ratios = of_cls.reshape(5, -1) / values[:, 0]
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios), rtol=1e-8, atol=1e-10)


def test_a_sum_of_heads_is_about_1_and_some_patches_count_against_it():
    _, attention = make_aggregator().attend([draw(257, 20)], [257])

    assert attention.sum(dim=1).sub(1).abs().max() < 0.2
    assert (attention < 0).any()


def test_slides_of_a_case_share_one_attention():
    aggregator, tokens = make_aggregator(), draw(60, 20)

    _, one = aggregator.attend([tokens], [60])
    _, two = aggregator.attend([tokens], [23, 37])

    assert slides_of([23, 37]).shape[1] == two.shape[1] == 60
    assert (one - two).abs().max() > 1e-6  # the convolution of the first layer stops at an edge


def test_gated_attention_gives_the_weights_of_its_mean():
    model = make_model(small_config(aggregator="abmil")).double().eval()
    features = draw(43, 11)

    cls_img, attention = model.attend_slides(features.split(9), [43])

    expected = attention @ model.patches(features[None])[0]
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(attention.sum().item(), 1.0)


def test_an_aggregator_without_attention_is_named():
    model = make_model(small_config(aggregator="nystrom-reference", preset="paper"))

    with pytest.raises(PluginError, match="aggregator ReferenceAggregator gives no attention"):
        model.attend_slides([draw(3, 11).float()], [3])
