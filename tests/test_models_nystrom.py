"""The attention against the package, exact attention, and itself in other company."""

from __future__ import annotations

import pytest
import torch
from nystrom_attention import NystromAttention as PackageAttention

from gimp_plugin.models import nystrom
from gimp_plugin.models.nystrom import NystromAttention
from gimp_plugin.models.pinv import apply_pinv
from tests.model_factory import draw, prefix

SIZE = {"dim_head": 8, "heads": 5, "num_landmarks": 64}
AS_PACKAGE = {"segments": "front_pad", "cls_convolution": True}
LENGTHS = [1, 5, 63, 64, 65, 257, 1000, 1025]


def make_attention(kind=NystromAttention, dim: int = 39, **changes) -> torch.nn.Module:
    """An attention with repeatable weights, in float64."""
    torch.manual_seed(1)
    return kind(dim, **{**SIZE, **changes}).double().eval()


def run(attention, x, direction) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Output, gradient of the input, gradients of the parameters."""
    x = x.clone().requires_grad_()
    attention.zero_grad()
    out = attention(x)
    (out * direction).sum().backward()
    return out.detach(), x.grad, {name: p.grad for name, p in attention.named_parameters()}


@pytest.mark.parametrize("n_tokens", LENGTHS)
def test_a_bag_has_the_package_s_output_and_gradients(n_tokens):
    ours, theirs = make_attention(**AS_PACKAGE), make_attention(PackageAttention)
    x, direction = draw(1, n_tokens, 39), draw(1, n_tokens, 39, seed=1)

    out, gradient, of_parameters = run(ours, x, direction)

    expected = run(theirs, x, direction)
    torch.testing.assert_close(out, expected[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, expected[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(of_parameters, expected[2], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n_tokens", LENGTHS)
def test_a_bag_has_the_package_s_output_and_gradient_in_float32(n_tokens):
    ours, theirs = make_attention(**AS_PACKAGE).float(), make_attention(PackageAttention).float()
    x, direction = draw(1, n_tokens, 39).float(), draw(1, n_tokens, 39, seed=1).float()

    out, gradient, _ = run(ours, x, direction)

    expected = run(theirs, x, direction)
    torch.testing.assert_close(out, expected[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(gradient, expected[1], rtol=0, atol=2e-5)


def test_state_dicts_load_both_ways():
    ours, theirs = make_attention(), make_attention(PackageAttention)
    torch.nn.init.normal_(ours.to_qkv.weight)

    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())

    assert torch.equal(theirs.to_qkv.weight, ours.to_qkv.weight)


def beside(attention, scale: float) -> torch.Tensor:
    """Output of a bag beside a mate of one dominant cluster."""
    bag = draw(1, 130, 39)
    mate = scale * draw(1, 1, 39, seed=2) + draw(1, 130, 39, seed=3)
    with torch.inference_mode():
        return attention(torch.cat([bag, mate]).to(attention.to_qkv.weight.dtype))[0]


@pytest.mark.parametrize("segments", ["balanced", "front_pad"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bag_is_bitwise_the_same_beside_any_mate(segments, dtype):
    attention = make_attention(segments=segments).to(dtype)

    quiet, loud = beside(attention, 0.0), beside(attention, 50.0)

    assert torch.equal(quiet, loud)


def test_the_raw_package_lets_a_mate_change_a_bag():
    attention = make_attention(PackageAttention)

    quiet, loud = beside(attention, 0.0), beside(attention, 50.0)

    assert (quiet - loud).abs().max() > 1e-3


@pytest.mark.parametrize("segments", ["balanced", "front_pad"])
@pytest.mark.parametrize("cls_convolution", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
def test_a_padded_bag_is_the_same_as_alone(segments, cls_convolution, dtype, tolerance):
    attention = make_attention(
        segments=segments, cls_convolution=cls_convolution, num_landmarks=17
    ).to(dtype)
    lengths = [1, 7, 16, 18, 53, 90]
    x = draw(6, 90, 39).to(dtype)

    with torch.inference_mode():
        padded = attention(x, attention.layout(prefix(lengths)))
        alone = [attention(x[bag : bag + 1, :length]) for bag, length in enumerate(lengths)]

    for bag, length in enumerate(lengths):
        torch.testing.assert_close(padded[bag, :length], alone[bag][0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("segments", ["balanced", "front_pad"])
def test_what_stands_behind_a_bag_changes_neither_output_nor_gradient(segments):
    attention = make_attention(segments=segments, num_landmarks=17)
    valid = prefix([7, 53])
    x = draw(2, 53, 39)
    other = torch.where(valid[..., None], x, 1e4 * draw(2, 53, 39, seed=3))

    results = []
    for one in (x, other):
        attention.zero_grad()
        out = attention(one, attention.layout(valid))[valid]
        out.square().sum().backward()
        results.append((out.detach(), attention.to_qkv.weight.grad.clone()))

    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("segments", ["balanced", "front_pad"])
def test_wanted_rows_are_a_slice_of_all_rows(segments):
    attention = make_attention(segments=segments, num_landmarks=17)
    x, rows = draw(2, 53, 39), torch.tensor([[0, 3, 52], [0, 7, 8]])

    wanted = attention(x, rows=rows)

    every = attention(x)
    expected = torch.stack([every[bag, rows[bag]] for bag in range(2)])
    torch.testing.assert_close(wanted, expected, rtol=0, atol=1e-13)


def test_with_a_landmark_a_token_it_becomes_exact_attention():
    attention = make_attention(
        dim=6, dim_head=3, heads=2, num_landmarks=11, pinv_iterations=60, residual=False
    )
    x = draw(2, 11, 6)

    out = attention(x)

    q, k, v = (
        part.view(2, 11, 2, 3).transpose(1, 2)
        for part in (x @ attention.to_qkv.weight.T).chunk(3, dim=-1)
    )
    exact = (q @ k.mT / 3**0.5).softmax(dim=-1) @ v
    expected = attention.to_out(exact.transpose(1, 2).reshape(2, 11, 6))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-7)


def changed_by_convolution(attention, x, slide=None) -> torch.Tensor:
    """What the residual convolution adds to each token, before the output layer."""
    attention.to_out = torch.nn.Identity()
    layout = attention.layout(torch.ones(x.shape[:2], dtype=torch.bool), slide)
    with_convolution = attention(x, layout)
    attention.residual = False
    return with_convolution - attention(x, layout)


def test_the_convolution_leaves_cls_out():
    added = changed_by_convolution(make_attention(dim=40), draw(2, 50, 40))

    assert (added[:, 0] == 0).all()
    assert (added[:, 1:].abs().amax(dim=-1) > 1e-6).all()


def test_the_convolution_reaches_cls_where_the_package_s_would():
    added = changed_by_convolution(make_attention(dim=40, cls_convolution=True), draw(2, 50, 40))

    assert (added[:, 0].abs().amax(dim=-1) > 1e-6).all()


@pytest.mark.parametrize("cls_convolution", [False, True])
def test_the_convolution_does_not_cross_from_slide_to_slide(cls_convolution):
    def attention():
        return make_attention(dim=40, cls_convolution=cls_convolution)

    x, n_cls = draw(2, 1 + 60, 40), 1
    slide = torch.tensor([[0] * 25 + [1] * 20 + [2] * 15, [0] * 60])

    added = changed_by_convolution(attention(), x, slide)

    torch.testing.assert_close(added[1:], changed_by_convolution(attention(), x[1:]))
    first = changed_by_convolution(attention(), x[:1, : n_cls + 25])
    torch.testing.assert_close(added[:1, : n_cls + 25], first)
    plain = make_attention(dim=40, cls_convolution=True)
    second = changed_by_convolution(plain, x[:1, n_cls + 25 : n_cls + 45])
    torch.testing.assert_close(added[:1, n_cls + 25 : n_cls + 45], second)


def test_it_works_without_a_convolution():
    attention = make_attention(residual=False)

    assert attention.layout(prefix([4]), torch.tensor([[0, 1, 1]])).place is None
    assert attention(draw(1, 4, 39)).isfinite().all()


def test_in_bfloat16_the_pseudo_inverse_stays_in_float32(monkeypatch):
    attention = make_attention(num_landmarks=40).float()
    x, dtypes = draw(1, 80, 39).float(), []
    expected = attention(x)

    def spied(among_landmarks, summary, *, n_iterations):
        dtypes.extend((among_landmarks.dtype, (among_landmarks @ summary).dtype))
        return apply_pinv(among_landmarks, summary, n_iterations=n_iterations)

    monkeypatch.setattr(nystrom, "apply_pinv", spied)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention(x)

    assert dtypes == [torch.float32, torch.float32]
    assert out.dtype == torch.bfloat16
    assert (out - expected).abs().mean() < 0.02 * expected.abs().mean()
