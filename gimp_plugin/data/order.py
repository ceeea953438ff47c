"""Which cases stand in which batch of an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_CLASSES = 4


def shuffled_batches(n_cases: int, batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Every case once, in random order; the last batch may be smaller.

    Parameters
    ----------
    n_cases
        Number of cases.
    batch_size
        Cases a batch.
    seed, epoch
        Randomness of the order.

    Returns
    -------
    Indices of the cases of each batch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n_cases).tolist()
    return [order[start : start + batch_size] for start in range(0, n_cases, batch_size)]


def balanced_batches(
    labels: Sequence[int], batch_size: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """Batches with as many cases of each class, so that every batch holds triplets.

    P = min(classes, 4) classes a batch and K = floor(batch_size / P) cases of each, at least 2. A
    class is walked through in random order and started again at its end; the epoch is as long as
    it takes to draw as many cases as there are.

    Parameters
    ----------
    labels
        Class of each case.
    batch_size
        Cases a batch, at most (but at least 2 of each class).
    seed, epoch
        Randomness of the order.

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
    n_classes = min(len(members), MAX_CLASSES)
    n_each = max(2, batch_size // n_classes)
    queues: dict[int, list[int]] = {label: [] for label in members}
    batches = []
    for _ in range(max(1, len(labels) // (n_classes * n_each))):
        chosen = rng.permutation(list(members))[:n_classes]
        batches.append(
            [case for label in chosen for case in _next(queues, members, int(label), n_each, rng)]
        )
    return batches


def _next(
    queues: dict[int, list[int]],
    members: dict[int, list[int]],
    label: int,
    n_wanted: int,
    rng: np.random.Generator,
) -> list[int]:
    """Next cases of a class; none stands twice in what is given."""
    n_wanted = min(n_wanted, len(members[label]))
    queue = queues[label]
    if len(queue) < n_wanted:
        again = [case for case in rng.permutation(members[label]).tolist() if case not in queue]
        queue = [*queue, *again]
    queues[label] = queue[n_wanted:]
    return queue[:n_wanted]
