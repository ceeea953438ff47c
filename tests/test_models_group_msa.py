"""GroupMSA against full attention, and what it may and may not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from gimp_plugin.errors import ConfigError
from gimp_plugin.models.group_msa import FirstTokenAttention, GroupMSA, gene_layout
from tests.model_factory import draw, small_config


def make_encoder(n_genes: int = 779, **changes) -> GroupMSA:
    """An encoder with repeatable weights, in float64 and evaluation mode."""
    torch.manual_seed(4)
    return GroupMSA(n_genes, **{"dim": 20, "n_heads": 5, **changes}).double().eval()


@pytest.mark.parametrize(
    ("n_genes", "expected"),
    [
        (60480, (16, 1008, 60)),
        (60660, (16, 1024, 60)),
        (779, (3, 15, 52)),
        (240, (1, 4, 60)),
        (61, (1, 2, 31)),
        (1, (1, 1, 1)),
    ],
)
def test_the_layout_follows_from_the_number_of_genes(n_genes, expected):
    assert gene_layout(n_genes) == expected


def test_groups_and_fragments_can_be_given():
    assert gene_layout(100, n_groups=3, n_fragments=12) == (3, 12, 9)


def test_fragments_that_do_not_fill_the_groups_are_refused():
    with pytest.raises(ConfigError, match="n_fragments = 10 is not a multiple of n_groups = 3"):
        gene_layout(100, n_groups=3, n_fragments=10)


def full_attention(lean: FirstTokenAttention, tokens: torch.Tensor) -> torch.Tensor:
    """All rows of the same layer, by torch's own multi-head attention."""
    attention = nn.MultiheadAttention(20, 5, batch_first=True).double()
    attention.in_proj_weight.data.copy_(lean.to_qkv.weight)
    attention.in_proj_bias.data.zero_()
    attention.out_proj.load_state_dict(lean.to_out.state_dict())
    normed = lean.norm(tokens)
    return tokens + attention(normed, normed, normed)[0]


def test_the_first_token_s_row_is_that_of_full_attention():
    torch.manual_seed(5)
    lean = FirstTokenAttention(20, 5, dropout=0.0).double()
    tokens = draw(3, 7, 20)

    row = lean(tokens)

    torch.testing.assert_close(row, full_attention(lean, tokens)[:, 0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("projection", ["per_fragment", "shared"])
@pytest.mark.parametrize("linear_path", [True, False])
def test_the_encoder_is_its_definition_with_full_attention(projection, linear_path):
    encoder = make_encoder(projection=projection, linear_path=linear_path)
    genes = draw(3, 779)

    cls_ge = encoder(genes)

    pieces = functional.pad(genes, (0, 1)).view(3, 15, 52)
    weights = encoder.projection.expand(15, 52, 20)
    fragments = torch.stack([pieces[:, f] @ weights[f] for f in range(15)], dim=1)
    fragments = fragments + encoder.fragment_tokens
    groups = []
    for group in range(3):
        token = encoder.group_tokens[group].expand(3, 1, 20)
        members = torch.cat([token, fragments[:, 5 * group : 5 * group + 5]], dim=1)
        groups.append(full_attention(encoder.within_groups, members)[:, 0])
    tokens = torch.stack([encoder.cls_token[0].expand(3, 20), *groups], dim=1)
    expected = encoder.norm(full_attention(encoder.between_groups, tokens)[:, 0])
    if linear_path:
        expected = expected + genes @ encoder.linear_path.weight.T
    torch.testing.assert_close(cls_ge, expected, rtol=0, atol=1e-12)


def test_genes_moved_within_a_fragment_with_their_weights_give_the_same():
    encoder, moved = make_encoder(), make_encoder()
    genes, order = draw(3, 779), torch.randperm(52, generator=torch.Generator().manual_seed(0))
    every = torch.arange(779)
    every[52:104] = 52 + order
    moved.projection.data[1] = encoder.projection.data[1][order]
    moved.linear_path.weight.data.copy_(encoder.linear_path.weight.data[:, every])

    torch.testing.assert_close(moved(genes[:, every]), encoder(genes), rtol=0, atol=1e-12)
    assert (encoder(genes[:, every]) - encoder(genes)).abs().max() > 1e-3


def test_fragments_moved_within_a_group_with_their_parameters_give_the_same():
    encoder, moved = make_encoder(linear_path=False), make_encoder(linear_path=False)
    genes = draw(3, 780)
    order = torch.tensor([2, 0, 4, 1, 3, *range(5, 15)])
    moved.projection.data.copy_(encoder.projection.data[order])
    moved.fragment_tokens.data.copy_(encoder.fragment_tokens.data[order])

    other = genes.view(3, 15, 52)[:, order].reshape(3, 780)

    torch.testing.assert_close(moved(other), encoder(genes), rtol=0, atol=1e-12)


def test_a_shared_projection_cannot_tell_where_in_the_genes_a_group_stands():
    shared = make_encoder(projection="shared", linear_path=False)
    shared.fragment_tokens.data.zero_()
    shared.group_tokens.data.zero_()
    genes = draw(3, 780)

    other = genes.view(3, 3, 260)[:, [2, 0, 1]].reshape(3, 780)

    torch.testing.assert_close(shared(other), shared(genes), rtol=0, atol=1e-12)


def test_zeros_that_fill_up_the_last_fragment_get_no_gradient():
    encoder = make_encoder()

    encoder(draw(3, 779)).square().sum().backward()

    by_slot = encoder.projection.grad.flatten(0, 1).abs().sum(dim=1)
    assert (by_slot[:779] > 0).all()
    assert (by_slot[779:] == 0).all()


def test_every_parameter_gets_a_gradient():
    encoder = make_encoder()

    (encoder(draw(3, 779)) * draw(3, 20, seed=1)).sum().backward()

    assert all((p.grad != 0).any() for p in encoder.parameters())


def test_the_linear_path_is_linear_in_the_genes():
    with_path, without = make_encoder(), make_encoder(linear_path=False)
    without.load_state_dict(with_path.state_dict(), strict=False)
    genes = draw(3, 779)

    path = with_path(genes) - without(genes)

    torch.testing.assert_close(path, genes @ with_path.linear_path.weight.T, rtol=0, atol=1e-12)


def test_the_linear_path_starts_small():
    weight = make_encoder().linear_path.weight

    assert weight.std().item() == pytest.approx(0.3 / 779**0.5, rel=0.05)


def test_a_case_does_not_depend_on_its_mates():
    encoder, genes = make_encoder(), draw(3, 779)

    torch.testing.assert_close(encoder(genes)[1:2], encoder(genes[1:2]), rtol=0, atol=1e-13)


def test_both_presets_can_be_expressed():
    recommended = GroupMSA.from_config(small_config("recommended"), n_genes=779)
    paper = GroupMSA.from_config(small_config("paper"), n_genes=779)

    assert recommended.projection.shape == (15, 52, 20)
    assert recommended.linear_path.weight.shape == (20, 779)
    assert paper.projection.shape == (52, 20)
    assert paper.linear_path is None
