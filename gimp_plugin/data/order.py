"""Assign the cases of an epoch to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gimp_plugin.data.cases import UNKNOWN

MAX_CLASSES = 4


def shuffled_batches(n_cases: int, batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Put every case in one batch, in random order; the last batch may be smaller.

    Parameters
    ----------
    n_cases
        Number of cases.
    batch_size
        Cases per batch.
    seed, epoch
        Seed the order.

    Returns
    -------
    Indices of the cases of each batch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n_cases).tolist()
    return [order[start : start + batch_size] for start in range(0, n_cases, batch_size)]


def balanced_batches(
    labels: Sequence[int], batch_size: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """Draw batches with equally many cases of each class, so that every batch has triplets.

    Each batch has P = min(classes, 4) classes and K = floor(batch_size / P) cases of each, at least
    2. The cases of a class are used in random order, starting over after the last; an epoch draws
    about as many cases as there are.

    Cases without a label take their share of each batch, but at most half of it; the rest goes to
    labelled cases, balanced as above. Triplets thus remain however few labels there are. In a small
    batch this can reduce P, but not below 2.

    Parameters
    ----------
    labels
        Class of each case; -1 where it is not known.
    batch_size
        Maximum cases per batch (but at least 2 of each class, and one without a label).
    seed, epoch
        Seed the order.

    Returns
    -------
    Indices of the cases of each batch.

    Examples
    --------
    >>> sorted(len(batch) for batch in balanced_batches([0, 1] * 5, 4, seed=0, epoch=0))
    [4, 4]
    """
    rng = np.random.default_rng([seed, epoch])
    members = {
        label: [index for index, other in enumerate(labels) if other == label]
        for label in sorted(set(labels))
    }
    queues: dict[int, list[int]] = {label: [] for label in members}
    classes = [label for label in members if label != UNKNOWN]
    n_classes, n_each, n_free = _places(members, batch_size)
    batches = []
    for _ in range(max(1, len(labels) // (n_classes * n_each + n_free))):
        wanted = [(int(label), n_each) for label in rng.permutation(classes)[:n_classes]]
        wanted += [(UNKNOWN, n_free)] if n_free else []
        batches.append(
            [case for label, n in wanted for case in _next(queues, members, label, n, rng)]
        )
    return batches


def _places(members: Mapping[int, Sequence[int]], batch_size: int) -> tuple[int, int, int]:
    """Number of classes in a batch, of cases of each, and of cases without a label."""
    n_free, n_cases = len(members.get(UNKNOWN, ())), sum(map(len, members.values()))
    if n_free == n_cases:
        return 0, 0, min(batch_size, n_free)
    n_classes = min(len(members) - (n_free > 0), MAX_CLASSES)
    if not n_free:
        return n_classes, max(2, batch_size // n_classes), 0
    labelled = max(batch_size // 2, batch_size * (n_cases - n_free) // n_cases)
    n_classes = min(n_classes, max(2, labelled // 2))
    n_each = max(2, labelled // n_classes)
    return n_classes, n_each, min(n_free, max(1, batch_size - n_classes * n_each))


def _next(
    queues: dict[int, list[int]],
    members: dict[int, list[int]],
    label: int,
    n_wanted: int,
    rng: np.random.Generator,
) -> list[int]:
    """Next cases of a class, without repeats."""
    n_wanted = min(n_wanted, len(members[label]))
    queue = queues[label]
    if len(queue) < n_wanted:
        again = [case for case in rng.permutation(members[label]).tolist() if case not in queue]
        queue = [*queue, *again]
    queues[label] = queue[n_wanted:]
    return queue[:n_wanted]
