"""Which cases stand in which batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.data.cases import UNKNOWN
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


def by_hand(labels, batch_size, *, seed, epoch):
    """Batches of labelled cases as they were before there were any without a label."""
    rng = np.random.default_rng([seed, epoch])
    members = {label: np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))}
    n_classes = min(len(members), 4)
    n_each = max(2, batch_size // n_classes)
    waiting, batches = {label: [] for label in members}, []
    for _ in range(max(1, len(labels) // (n_classes * n_each))):
        batch = []
        for label in rng.permutation(list(members))[:n_classes]:
            n_wanted = min(n_each, len(members[label]))
            if len(waiting[label]) < n_wanted:
                drawn = rng.permutation(members[label])
                waiting[label] += [case for case in drawn if case not in waiting[label]]
            batch += waiting[label][:n_wanted]
            waiting[label] = waiting[label][n_wanted:]
        batches.append(batch)
    return batches


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.integers(2, 12), st.integers(0, 3))
def test_where_every_case_has_a_label_nothing_has_changed(labels, batch_size, epoch):
    expected = by_hand(labels, batch_size, seed=3, epoch=epoch)

    assert balanced_batches(labels, batch_size, seed=3, epoch=epoch) == expected


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=30).filter(lambda own: len(set(own)) > 1),
    st.integers(1, 60),
    st.integers(4, 17),
)
def test_the_labelled_share_of_a_batch_is_balanced_and_at_least_half(labels, n_free, batch_size):
    n_of = Counter(labels)
    labels = [*labels, *[UNKNOWN] * n_free]

    for batch in balanced_batches(labels, batch_size, seed=1, epoch=2):
        found = Counter(labels[case] for case in batch)
        n_without = found.pop(UNKNOWN)
        wanted = max(2, *found.values())
        assert len(found) > 1  # there is something to be negative
        assert all(n == min(wanted, n_of[label]) for label, n in found.items())
        assert n_without >= 1
        assert len(set(batch)) == len(batch) <= max(batch_size, 5)
        used_up = all(n == n_of[label] for label, n in found.items())
        assert used_up or wanted * len(found) >= batch_size // 2 - len(found)  # of a class


@pytest.mark.parametrize(
    ("n_labelled", "n_free", "batch_size", "expected"),
    [
        (20, 370, 8, {0: 2, 1: 2, UNKNOWN: 4}),
        (20, 370, 16, {0: 4, 1: 4, UNKNOWN: 8}),
        (350, 50, 8, {0: 3, 1: 3, UNKNOWN: 2}),
        (30, 1, 8, {0: 3, 1: 3, UNKNOWN: 1}),
    ],
)
def test_places_of_a_batch(n_labelled, n_free, batch_size, expected):
    labels = [*[0, 1] * (n_labelled // 2), *[UNKNOWN] * n_free]

    batches = balanced_batches(labels, batch_size, seed=0, epoch=0)

    assert {
        tuple(sorted(Counter(labels[case] for case in batch).items())) for batch in batches
    } == {tuple(sorted(expected.items()))}
    assert len(batches) == (n_labelled + n_free) // sum(expected.values())


def test_cases_without_a_label_are_walked_through_before_they_start_again():
    labels = [*[0, 1] * 8, *[UNKNOWN] * 8]

    batches = balanced_batches(labels, 8, seed=0, epoch=0)

    drawn = Counter(case for batch in batches for case in batch if labels[case] == UNKNOWN)
    assert set(drawn.values()) <= {1, 2}
    assert len(drawn) == min(8, sum(drawn.values()))


def test_without_any_label_batches_are_of_any_cases():
    batches = balanced_batches([UNKNOWN] * 11, 4, seed=0, epoch=0)

    assert [len(set(batch)) for batch in batches] == [4, 4]
