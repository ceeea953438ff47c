"""The only place that seeds torch's global generator, used by initialisation and dropout."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived(seed: int, *parts: object) -> int:
    """Seed for one purpose, derived from the run's seed and the parts that name the purpose.

    Returns
    -------
    An unsigned 32-bit integer.

    Examples
    --------
    >>> derived(0, "pretrain", 1, 2) == derived(0, "pretrain", 1, 2)
    True
    >>> derived(0, "pretrain", 1, 2) == derived(0, "pretrain", 2, 1)
    False
    """
    return zlib.crc32(repr((seed, *parts)).encode())


@contextmanager
def seeded(seed: int, *parts: object) -> Iterator[None]:
    """Run a block with torch's generator seeded for one purpose; restore the CPU's state after it.

    A training step that is seeded by its own number needs no stored generator state: a run that
    resumes at that step draws the same as an uninterrupted run.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived(seed, *parts))  # noqa: TID251  # the one place
        yield
