"""A case in training, and how patches are drawn from its bags."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.storage.bags import BagInfo, read_features

UNKNOWN = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One patient.

    Parameters
    ----------
    case_id
        The patient's id.
    label
        Index of the class; -1 if unknown.
    bags
        The bags of the patient's slides, in the order of slide_id; empty without slides.
    gene_row
        Row of the cohort's matrix; -1 without genes.
    """

    case_id: str
    label: int = UNKNOWN
    bags: tuple[BagInfo, ...] = ()
    gene_row: int = -1

    @property
    def n_patches(self) -> int:
        """Number of patches of all slides."""
        return sum(bag.n_patches for bag in self.bags)

    @property
    def has_slides(self) -> bool:
        """Whether the case has a slide."""
        return bool(self.bags)

    @property
    def has_label(self) -> bool:
        """Whether the class of the case is known."""
        return self.label != UNKNOWN

    @property
    def has_genes(self) -> bool:
        """Whether the case has genes."""
        return self.gene_row >= 0


@dataclass(frozen=True, slots=True)
class Patches:
    """Patches drawn from one case.

    Parameters
    ----------
    features
        Shape (patch, feature).
    slide
        Index of the slide of each patch, shape (patch,).
    source
        Index of the patch that each one is a copy of, shape (patch,); the identity unless a short
        bag is tiled.
    """

    features: NDArray[np.floating]
    slide: NDArray[np.int64]
    source: NDArray[np.int64]


def generator(seed: int, epoch: int, case_id: str) -> np.random.Generator:
    """Seed a generator by case and epoch, independent of loading order and process.

    Returns
    -------
    A new generator.

    Examples
    --------
    >>> generator(0, 1, "a").integers(100) == generator(0, 1, "a").integers(100)
    np.True_
    """
    return np.random.default_rng([seed, epoch, zlib.crc32(case_id.encode())])


def draw_window(
    case: Case, length: int, rng: np.random.Generator, *, tiled: bool = False
) -> Patches:
    """Draw contiguous patches of one slide (paper, section 2.3).

    The slide is drawn with a probability proportional to its number of patches, the start
    uniformly. The paper's indices j = i..L+i give one patch too many; we take exactly L.

    Parameters
    ----------
    case
        A case with at least one bag.
    length
        L, the maximum number of patches of a window.
    rng
        Random generator of this case in this epoch.
    tiled
        Repeat a shorter bag cyclically up to exactly L, as the paper does.

    Returns
    -------
    min(L, n) patches of a slide with n patches, or exactly L when tiled.
    """
    sizes = np.array([bag.n_patches for bag in case.bags])
    bag = case.bags[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
    n_taken = min(length, bag.n_patches)
    start = int(rng.integers(bag.n_patches - n_taken + 1))
    features = read_features(bag, start, start + n_taken)
    source = np.arange(length if tiled else n_taken) % n_taken
    repeated = features if len(source) == n_taken else features[source]
    return Patches(repeated, np.zeros_like(source), source)


def draw_subset(
    case: Case, low: float, high: float, rng: np.random.Generator, *, max_patches: int
) -> Patches:
    """Draw a random share of a case's patches, in their order.

    Parameters
    ----------
    case
        A case with at least one bag.
    low, high
        The share is drawn uniformly between these; 1 and 1 take every patch.
    rng
        Random generator of this case in this epoch.
    max_patches
        Maximum number of patches.

    Returns
    -------
    At least one patch.
    """
    share = rng.uniform(low, high)
    n_taken = max(1, min(round(share * case.n_patches), max_patches))
    if n_taken == case.n_patches:
        return all_patches(case)
    chosen = np.sort(rng.choice(case.n_patches, n_taken, replace=False))
    return _rows(case, chosen)


def all_patches(case: Case) -> Patches:
    """Read every patch of every slide of a case, in the order of slide_id."""
    return _rows(case, np.arange(case.n_patches))


def _rows(case: Case, chosen: NDArray[np.int64]) -> Patches:
    """Read rows of the concatenated bags, each file once, from its first to its last chosen row."""
    parts, slides, offset = [], [], 0
    for index, bag in enumerate(case.bags):
        own = chosen[(chosen >= offset) & (chosen < offset + bag.n_patches)] - offset
        offset += bag.n_patches
        if own.size:
            first = int(own[0])
            parts.append(read_features(bag, first, int(own[-1]) + 1)[own - first])
            slides.append(np.full(own.size, index))
    return Patches(np.concatenate(parts), np.concatenate(slides), np.arange(chosen.size))
