"""Masks: the share, the randomness and the copies of tiled bags."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.models.masking import draw_mask
from tests.model_factory import EXAMPLES, prefix

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=4)


def seeded(*seeds: int) -> list[torch.Generator]:
    """One generator a bag."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@EXAMPLES
@given(LENGTHS, st.floats(0.05, 0.95), st.integers(0, 99))
def test_exactly_the_share_of_each_bag_s_own_patches_is_hidden(lengths, ratio, seed):
    valid = prefix(lengths)

    masked = draw_mask(valid, ratio, torch.Generator().manual_seed(seed))

    expected = [min(round(ratio * length), length - 1) for length in lengths]
    assert masked.sum(dim=1).tolist() == expected
    assert not (masked & ~valid).any()


@given(st.integers(1, 3000))
def test_half_of_a_bag_is_exactly_half(n_patches):
    masked = draw_mask(prefix([n_patches]), 0.5, torch.Generator().manual_seed(0))

    assert masked.sum() == round(n_patches / 2)


def test_one_patch_stays_visible_in_a_bag_of_few_and_a_bag_of_none_has_none_to_hide():
    masked = draw_mask(prefix([0, 1, 2, 9]), 0.95, torch.Generator().manual_seed(0))

    assert masked.sum(dim=1).tolist() == [0, 0, 1, 8]


def test_a_bag_s_mask_does_not_depend_on_its_mates():
    both = draw_mask(prefix([9, 30]), 0.5, seeded(1, 2))

    alone = draw_mask(prefix([9]), 0.5, seeded(1))

    assert torch.equal(both[0, :9], alone[0])


def test_masks_of_one_generator_differ_from_bag_to_bag():
    masked = draw_mask(prefix([30, 30]), 0.5, torch.Generator().manual_seed(0))

    assert not torch.equal(masked[0], masked[1])


def test_every_patch_is_hidden_about_as_often():
    generator = torch.Generator().manual_seed(0)

    hidden = draw_mask(prefix([10]).expand(4000, 10), 0.5, generator).float().mean(dim=0)

    assert (hidden - 0.5).abs().max() < 0.04  # 5 standard deviations of a share of 4,000


@EXAMPLES
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 99))
def test_a_tiled_bag_never_shows_a_copy_of_a_hidden_patch(n_originals, n_patches, seed):
    source = (torch.arange(n_patches) % n_originals)[None]

    masked = draw_mask(torch.ones_like(source, dtype=torch.bool), 0.5, seeded(seed), source=source)

    hidden, shown = set(source[masked].tolist()), set(source[~masked].tolist())
    assert not hidden & shown
    assert len(hidden) == round(min(n_originals, n_patches) / 2)
