"""CLS_img and wanted patches: alone or in a batch, ours or the package's."""

from __future__ import annotations

import pytest
import torch

from gimp_plugin.models.aggregator import NystromAggregator
from gimp_plugin.models.reference import ReferenceAggregator
from tests.model_factory import draw, prefix, small_config

LENGTHS = [1, 3, 6, 17, 40]


def make_aggregator(kind=NystromAggregator, **changes) -> NystromAggregator:
    """An aggregator with repeatable weights, in float64 and evaluation mode."""
    torch.manual_seed(2)
    return kind.from_config(small_config(**changes)).double().eval()


def some_rows(valid: torch.Tensor) -> torch.Tensor:
    """About half of the patches, and none of the first bag."""
    rows = valid & (torch.arange(valid.shape[1]) % 2 == 0)
    rows[0] = False
    return rows


@pytest.mark.parametrize("preset", ["recommended", "paper"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
def test_a_case_in_a_ragged_batch_is_the_same_as_alone(preset, dtype, tolerance):
    aggregator = make_aggregator(preset=preset).to(dtype)
    valid = prefix(LENGTHS)
    tokens, rows = draw(5, 40, 20).to(dtype), some_rows(valid)

    with torch.inference_mode():
        cls_img, patches = aggregator(tokens, valid, rows=rows)
        alone = [
            aggregator(
                tokens[case : case + 1, :length],
                valid[case : case + 1, :length],
                rows=rows[case : case + 1, :length],
            )
            for case, length in enumerate(LENGTHS)
        ]

    torch.testing.assert_close(
        cls_img, torch.cat([one[0] for one in alone]), rtol=0, atol=tolerance
    )
    torch.testing.assert_close(
        patches, torch.cat([one[1] for one in alone]), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("preset", ["recommended", "paper"])
def test_wanted_rows_are_a_slice_of_all_rows(preset):
    aggregator, valid = make_aggregator(preset=preset), prefix(LENGTHS)
    tokens, rows = draw(5, 40, 20), some_rows(valid)

    cls_img, patches = aggregator(tokens, valid, rows=rows)

    every_cls, every_patch = aggregator(tokens, valid, rows=valid)
    torch.testing.assert_close(cls_img, every_cls, rtol=0, atol=1e-13)
    torch.testing.assert_close(patches, every_patch[rows[valid]], rtol=0, atol=1e-13)
    cls_only, nothing = aggregator(tokens, valid)
    torch.testing.assert_close(cls_only, every_cls, rtol=0, atol=1e-13)
    assert nothing.shape == (0, 20)


def test_the_reference_is_the_same_function_as_the_paper_preset():
    ours = make_aggregator(preset="paper")
    theirs = make_aggregator(ReferenceAggregator, preset="paper")
    theirs.load_state_dict(ours.state_dict())
    valid = prefix(LENGTHS)
    tokens, rows = draw(5, 40, 20), some_rows(valid)

    results = []
    for aggregator in (ours, theirs):
        cls_img, patches = aggregator(tokens, valid, rows=rows)
        (cls_img.sum() + patches.square().sum()).backward()
        results.append((cls_img, patches, *(p.grad for p in aggregator.parameters())))

    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("changes", [{"n_landmarks": 3}, {"pinv_iterations": 2}], ids=str)
def test_with_the_same_weights_landmarks_and_iterations_have_an_effect(changes):
    tokens, valid = draw(1, 40, 20), prefix([40])

    usual, other = (make_aggregator(**one)(tokens, valid)[0] for one in ({}, changes))

    assert (usual - other).abs().max() > 1e-6


def test_the_reference_trains_with_dropout():
    aggregator = make_aggregator(ReferenceAggregator, attention_dropout=0.5).train()
    tokens = draw(1, 9, 20).expand(2, 9, 20)

    cls_img, _ = aggregator(tokens, prefix([9, 9]))

    assert not torch.equal(cls_img[0], cls_img[1])


def test_a_case_without_patches_is_cls_alone():
    aggregator = make_aggregator()

    cls_img, _ = aggregator(draw(2, 5, 20), torch.tensor([[False] * 5, [True] * 5]))

    nothing = torch.zeros(1, 0, dtype=torch.bool)
    alone, _ = aggregator(draw(1, 0, 20), nothing, slide=nothing.long(), rows=nothing)
    torch.testing.assert_close(cls_img[:1], alone, rtol=0, atol=1e-13)


def test_slides_of_a_case_are_told_apart_only_when_named():
    aggregator = make_aggregator()
    tokens, valid = draw(2, 12, 20), prefix([12, 7])
    slide = torch.tensor([[0] * 5 + [1] * 7, [0] * 7 + [0] * 5])

    together, _ = aggregator(tokens, valid)
    apart, _ = aggregator(tokens, valid, slide=slide)

    assert (together[0] - apart[0]).abs().max() > 1e-4
    torch.testing.assert_close(together[1], apart[1], rtol=0, atol=1e-13)


def cls_movement(first: int, **changes) -> float:
    """How far CLS_img moves when 16 patches of a bag of 300 become others."""
    changes = {"dim": 40, "n_landmarks": 24, "convolution_taps": 33, **changes}
    aggregator = make_aggregator(**changes)
    tokens = draw(8, 300, 40)
    other = tokens.clone()
    other[:, first : first + 16] = draw(8, 16, 40, seed=1)
    valid = prefix([300] * 8)
    with torch.inference_mode():
        moved = aggregator(tokens, valid)[0] - aggregator(other, valid)[0]
    return float(moved.norm(dim=-1).mean())


def test_the_first_patches_move_cls_no_more_than_others():
    assert cls_movement(0) < 5 * cls_movement(142)


def test_they_do_where_the_convolution_reaches_cls():
    assert cls_movement(0, cls_convolution=True) > 5 * cls_movement(142, cls_convolution=True)


def test_every_parameter_gets_a_gradient():
    aggregator, valid = make_aggregator().train(), prefix([9, 14])

    cls_img, patches = aggregator(draw(2, 14, 20), valid, rows=some_rows(valid))
    (cls_img.sum() + patches.square().sum()).backward()

    assert all((p.grad != 0).any() for p in aggregator.parameters())
