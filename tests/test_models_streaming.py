"""CLS_img of a bag that comes in chunks: the same as of the whole bag, and no chunk is kept."""

from __future__ import annotations

import weakref

import pytest
import torch

from gimp_plugin.models.aggregator import NystromAggregator
from gimp_plugin.models.reference import ReferenceAggregator
from tests.model_factory import draw, make_model, small_config

WHOLE = 10**6
CHUNKS = [1, 17, 8192, WHOLE]
SIZES = [(1,), (2,), (5,), (63,), (257,), (1000,), (1, 4), (140, 1, 16, 100)]
PRESETS = ["recommended", "paper"]


def make_aggregator(kind=NystromAggregator, *, sharpness: float = 3.0, **changes):
    """An aggregator with repeatable weights, whose attention is far from uniform."""
    torch.manual_seed(2)
    aggregator = kind.from_config(small_config(**{"n_landmarks": 7, **changes})).double().eval()
    for layer in aggregator.layers:
        layer.attention.to_qkv.weight.data *= sharpness
    return aggregator


def slides_of(sizes) -> torch.Tensor:
    """Slide of each patch."""
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[None]


def in_memory(aggregator, tokens, sizes) -> torch.Tensor:
    """CLS_img by the forward pass."""
    slide = slides_of(sizes)
    with torch.inference_mode():
        return aggregator(tokens[None], torch.ones_like(slide, dtype=torch.bool), slide=slide)[0]


def streamed(aggregator, tokens, sizes, chunk) -> torch.Tensor:
    """CLS_img in chunks; the tokens arrive in others than they are computed in."""
    return aggregator.stream(tokens.split(chunk + 3), sizes, chunk=chunk)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_it_is_the_same_as_in_memory(preset, chunk, sizes, dtype, tolerance):
    aggregator = make_aggregator(preset=preset).to(dtype)
    tokens = draw(sum(sizes), 20).to(dtype)

    cls_img = streamed(aggregator, tokens, sizes, chunk)

    expected = in_memory(aggregator, tokens, sizes)
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("chunk", [17, WHOLE])
@pytest.mark.parametrize("n_patches", [1, 2, 5, 63, 257, 1000])
def test_with_the_package_s_settings_it_is_the_unmodified_package(n_patches, chunk):
    ours = make_aggregator(preset="paper", n_landmarks=64)
    theirs = make_aggregator(ReferenceAggregator, preset="paper", n_landmarks=64)
    tokens = draw(n_patches, 20)

    cls_img = streamed(ours, tokens, [n_patches], chunk)

    expected = in_memory(theirs, tokens, [n_patches])
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"convolution_taps": 0},
        {"convolution_taps": 1},
        {"convolution_taps": 33},
        {"n_layers": 1},
        {"n_layers": 3},
        {"cls_convolution": True},
        {"preset": "paper", "cls_convolution": False},
        {"preset": "paper", "convolution_taps": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("chunk", [1, 17])
def test_it_is_so_with_other_settings(changes, chunk):
    aggregator, tokens, sizes = make_aggregator(**changes), draw(98, 20), (61, 7, 30)

    cls_img = streamed(aggregator, tokens, sizes, chunk)

    expected = in_memory(aggregator, tokens, sizes)
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
def test_attention_to_few_of_many_keys_does_not_overflow(preset):
    aggregator = make_aggregator(preset=preset, sharpness=60.0).float()
    tokens = draw(257, 20).float()

    cls_img = streamed(aggregator, tokens, (257,), 17)

    expected = in_memory(aggregator.double(), tokens.double(), (257,))
    assert expected.abs().mean() > 0.5
    torch.testing.assert_close(cls_img.double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sizes", [(), (0,)])
def test_a_case_without_patches_is_cls_alone(sizes):
    aggregator = make_aggregator()
    nothing = torch.zeros(1, 0, dtype=torch.bool)

    cls_img = aggregator.stream([], sizes)

    expected, _ = aggregator(draw(1, 0, 20), nothing)
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-13)


def test_slides_are_kept_apart():
    aggregator, tokens = make_aggregator(), draw(60, 20)

    apart, together = (streamed(aggregator, tokens, sizes, 17) for sizes in ((25, 35), (60,)))

    assert (apart - together).abs().max() > 1e-4


@pytest.mark.parametrize("preset", PRESETS)
def test_in_bfloat16_it_is_the_same_but_for_its_rounding(preset):
    aggregator, sizes = make_aggregator(preset=preset).float(), (40, 217)
    tokens = draw(257, 20).float()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        cls_img = streamed(aggregator, tokens, sizes, 17)
        whole = in_memory(aggregator, tokens, sizes)

    exact = in_memory(aggregator, tokens, sizes)
    assert cls_img.dtype == whole.dtype
    assert (cls_img - exact).abs().mean() < 2 * (whole - exact).abs().mean()


def test_the_tokens_that_are_given_stay_as_they_are():
    aggregator, tokens = make_aggregator(), draw(40, 20)
    before = tokens.clone()

    aggregator.stream([tokens], [40])

    assert torch.equal(tokens, before)


def test_it_gives_no_gradient_and_keeps_nothing_for_one():
    cls_img = make_aggregator().stream([draw(40, 20).requires_grad_()], [40])

    assert not cls_img.requires_grad


def test_tokens_that_do_not_fit_the_slides_are_refused():
    aggregator = make_aggregator()

    with pytest.raises(ValueError, match="39 patches, expected 40"):
        aggregator.stream([draw(39, 20)], [25, 15])
    with pytest.raises(ValueError, match="41 patches, expected 40"):
        aggregator.stream([draw(20, 20), draw(21, 20)], [25, 15])


@pytest.mark.parametrize("aggregator", ["nystrom", "nystrom-reference"])
def test_a_model_gives_what_it_gives_of_the_whole_bag(aggregator):
    model = make_model(small_config(aggregator=aggregator)).double().eval()
    features = draw(98, 11).half()
    slide = slides_of((61, 7, 30))

    cls_img = model.stream_slides(features.split(9), (61, 7, 30))

    valid = torch.ones_like(slide, dtype=torch.bool)
    expected = model.encode_slides(features[None], valid, slide=slide).cls_img
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-12)


def test_a_forward_pass_of_somebody_else_is_not_streamed_by_ours():
    class Mean(NystromAggregator):
        def forward(self, tokens, valid, *, slide=None, rows=None):
            return tokens.mean(dim=1), tokens[:0, 0]

    model = make_model(small_config()).double().eval()
    model.aggregator = Mean(small_config()).double()
    features = draw(31, 11)

    cls_img = model.stream_slides(features.split(9), [31])

    expected = model.patches(features[None]).mean(dim=1)
    torch.testing.assert_close(cls_img, expected, rtol=0, atol=1e-13)


def test_a_stream_of_somebody_else_is_used():
    class Count(NystromAggregator):
        def forward(self, tokens, valid, *, slide=None, rows=None):
            raise NotImplementedError

        def stream(self, tokens, sizes):
            return torch.tensor([[float(sum(map(len, tokens))), len(sizes)]])

    model = make_model(small_config()).double().eval()
    model.aggregator = Count(small_config()).double()

    assert model.stream_slides(draw(31, 11).split(9), [4, 27]).tolist() == [[31.0, 2.0]]


def test_of_the_features_no_chunk_outlives_the_next():
    model = make_model(small_config()).double().eval()
    seen: list[weakref.ref] = []
    alive = []

    def features():
        for number in range(20):
            chunk = draw(7, 11, seed=number)
            seen.append(weakref.ref(chunk))
            alive.append(sum(one() is not None for one in seen))
            yield chunk

    model.stream_slides(features(), [140])

    assert len(alive) == 20
    assert max(alive) <= 2
