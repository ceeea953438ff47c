"""Landmarks and places against loops over the tokens of one bag."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.models.layout import BagLayout, places_apart
from gimp_plugin.models.rows import add_rows, take_rows
from tests.model_factory import EXAMPLES, draw, prefix

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=4)
N_LANDMARKS = st.integers(1, 19)


@EXAMPLES
@given(LENGTHS, N_LANDMARKS)
def test_balanced_segments_are_contiguous_and_differ_by_one(lengths, n_landmarks):
    layout = BagLayout.balanced(prefix(lengths), n_landmarks)

    for bag, length in enumerate(lengths):
        own = layout.landmark[bag, :length]
        sizes = own.bincount()
        assert len(sizes) == min(n_landmarks, length)
        assert sizes.max() - sizes.min() <= 1
        assert (own.diff() >= 0).all()
        assert sizes.tolist() == layout.size[bag, : len(sizes)].tolist()
        live = torch.ones_like(layout.size[bag]) if layout.live is None else layout.live[bag]
        assert live.sum() == len(sizes)


@EXAMPLES
@given(LENGTHS, N_LANDMARKS)
def test_front_padded_segments_are_those_of_a_padded_bag(lengths, n_landmarks):
    layout = BagLayout.front_padded(prefix(lengths), n_landmarks)

    for bag, length in enumerate(lengths):
        n_blanks = -length % n_landmarks
        size = (length + n_blanks) // n_landmarks
        padded = torch.arange(n_landmarks).repeat_interleave(size)
        assert layout.landmark[bag, :length].tolist() == padded[n_blanks:].tolist()
        assert layout.size[bag].tolist() == [size] * n_landmarks
        assert layout.blanks[bag] == n_blanks


def test_one_key_with_the_logarithm_of_their_number_stands_for_all_blanks():
    layout = BagLayout.front_padded(prefix([5, 3]), 4)

    mask = layout.key_mask(torch.float64)

    assert mask[:, 0, 0].exp().round().tolist() == [[3, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]


def test_nothing_is_masked_where_every_token_and_landmark_exists():
    layout = BagLayout.balanced(prefix([6, 6]), 4)

    assert layout.key_mask(torch.float32) is None
    assert layout.live is None


def test_slides_stand_apart_and_no_two_patches_share_a_place():
    slide = torch.tensor([[0, 0, 1, 1, 1], [4, 4, 7, 0, 0]])

    places = places_apart(slide, gap=3)

    assert places.tolist() == [[0, 1, 5, 6, 7], [0, 1, 5, 9, 10]]


@EXAMPLES
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 6), st.integers(0, 99))
def test_rows_are_taken_and_added_as_a_loop_does(n_bags, n_patches, n_rows, seed):
    generator = torch.Generator().manual_seed(seed)
    x = draw(n_bags, n_patches, 3, seed=seed)
    taken = torch.randint(n_patches, (n_bags, n_rows), generator=generator)
    places = torch.randint(n_rows, (n_bags, n_patches), generator=generator)

    rows, sums = take_rows(x, taken), add_rows(x, places, n_rows)

    expected = torch.zeros_like(sums)
    for bag in range(n_bags):
        assert torch.equal(rows[bag], x[bag][taken[bag]])
        for patch in range(n_patches):
            expected[bag, places[bag, patch]] += x[bag, patch]
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-14)
