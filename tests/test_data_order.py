"""Which cases stand in which batch."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.data.order import balanced_batches, shuffled_batches


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5))
def test_shuffled_batches_hold_every_case_once(n_cases, batch_size, epoch):
    batches = shuffled_batches(n_cases, batch_size, seed=3, epoch=epoch)

    assert sorted(case for batch in batches for case in batch) == list(range(n_cases))
    assert all(len(batch) <= batch_size for batch in batches)


def test_shuffled_batches_differ_between_epochs_and_seeds_and_repeat_otherwise():
    first = shuffled_batches(23, 5, seed=1, epoch=0)

    assert first == shuffled_batches(23, 5, seed=1, epoch=0)
    assert first != shuffled_batches(23, 5, seed=1, epoch=1)
    assert first != shuffled_batches(23, 5, seed=2, epoch=0)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.integers(2, 12))
def test_balanced_batches_never_repeat_a_case_within_a_batch(labels, batch_size):
    for batch in balanced_batches(labels, batch_size, seed=0, epoch=0):
        assert len(set(batch)) == len(batch)


def test_balanced_batches_hold_as_many_cases_of_each_class():
    labels = [0] * 31 + [1] * 7 + [2] * 12

    batches = balanced_batches(labels, 8, seed=0, epoch=4)

    for batch in batches:
        assert Counter(labels[case] for case in batch) == {0: 2, 1: 2, 2: 2}


def test_balanced_batches_take_four_of_more_classes():
    labels = [index % 6 for index in range(60)]

    for batch in balanced_batches(labels, 8, seed=0, epoch=0):
        assert sorted(Counter(labels[case] for case in batch).values()) == [2, 2, 2, 2]


def test_balanced_batches_walk_through_a_class_before_they_start_it_again():
    labels = [0] * 12 + [1] * 12

    drawn = Counter(
        case for batch in balanced_batches(labels, 6, seed=5, epoch=0) for case in batch
    )

    assert set(drawn.values()) == {1}
    assert len(drawn) == 24


@pytest.mark.parametrize("labels", [[0, 0, 0, 1], [0, 1]])
def test_a_class_with_one_case_gives_batches_with_that_case_once(labels):
    for batch in balanced_batches(labels, 8, seed=0, epoch=0):
        assert Counter(labels[case] for case in batch)[1] == 1
