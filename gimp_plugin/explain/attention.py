"""Result of a run for one slide: the probabilities of its case, and a score of each patch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags import BagInfo, read_coords

CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("attention 0-20 %", (59, 76, 192)),
    ("attention 20-40 %", (141, 176, 254)),
    ("attention 40-60 %", (221, 221, 221)),
    ("attention 60-80 %", (244, 152, 122)),
    ("attention 80-100 %", (180, 4, 38)),
)
"""Fifths of the patches of a slide, in order of increasing attention, with their colours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideAttention:
    """Attention of a case to the patches of one of its slides.

    Parameters
    ----------
    slide_id, case_id
        The slide and its case.
    attention
        Attention to each patch, averaged over the heads; 1 is an even share of all patches of the
        case. It may be negative.
    corners
        Top-left corners of the patches in level-0 pixels, shape (patch, 2).
    side
        Side of a patch, in level-0 pixels.
    probabilities
        Probabilities of the case, by class.
    kind
        Name of the score in `attention`, if it is another one.
    others
        Further scores, by name.
    """

    slide_id: str
    case_id: str
    attention: NDArray[np.float32]
    corners: NDArray[np.int32]
    side: int
    probabilities: Mapping[str, float]
    kind: str = "attention"
    others: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def predicted(self) -> str:
        """Most likely class of the case."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    def scores(self) -> NDArray[np.float64]:
        """Rank of each patch's attention in its slide, in (0, 1]; ties share a rank."""
        from scipy.stats import rankdata

        return np.asarray(rankdata(self.attention) / len(self.attention))

    def measured(self) -> Iterator[dict[str, float]]:
        """Scores of each patch by name, the main one first; unknown others are left out."""
        columns = {self.kind: self.attention, **self.others}
        for values in zip(*(column.tolist() for column in columns.values()), strict=True):
            yield {
                name: value
                for name, value in zip(columns, values, strict=True)
                if name == self.kind or np.isfinite(value)
            }

    def boxes(self) -> NDArray[np.int64]:
        """Left, top, right and bottom edge of each patch, in level-0 pixels."""
        return boxes_of(self.corners, self.side)


def boxes_of(corners: NDArray[np.int32], side: int) -> NDArray[np.int64]:
    """Left, top, right and bottom edges of squares."""
    corners = corners.astype(np.int64)
    return np.concatenate([corners, corners + side], axis=1)


def place_of(bag: BagInfo) -> tuple[NDArray[np.int32], int]:
    """Read where the patches of a bag lie on its slide.

    Parameters
    ----------
    bag
        The bag.

    Returns
    -------
    Top-left corners and the side of a patch, in level-0 pixels.

    Raises
    ------
    BagError
        If the bag does not record them.
    """
    corners, side = read_coords(bag), bag.patch_size_level0
    if side is None:
        problem = f"{str(bag.path)!r} does not say how large its patches are at level 0"
        raise BagError(problem, hint="expected the attribute 'patch_size_level0' of its coords")
    return corners, side


def check_placed(bags: Iterable[BagInfo]) -> None:
    """Refuse bags that do not record where their patches lie, before any work.

    Parameters
    ----------
    bags
        The bags.

    Raises
    ------
    BagError
        If there is such a bag.
    """
    for bag in bags:
        if not (bag.has_coords and bag.patch_size_level0):
            place_of(bag)


def class_of(score: float, kind: str = "attention") -> tuple[str, tuple[int, int, int]]:
    """Give the fifth that a score lies in, and its colour.

    Parameters
    ----------
    score
        Score from 0 to 1.
    kind
        Name of the score.

    Returns
    -------
    Name and colour.

    Examples
    --------
    >>> class_of(0.2)[0], class_of(0.21)[0], class_of(1.0)[0]
    ('attention 0-20 %', 'attention 20-40 %', 'attention 80-100 %')
    """
    name, colour = CLASSES[min(max(int(np.ceil(score * len(CLASSES))) - 1, 0), len(CLASSES) - 1)]
    return name.replace("attention", kind), colour


def split_by_slide(
    attention: NDArray[np.float32], bags: Sequence[BagInfo]
) -> list[NDArray[np.float32]]:
    """Attention to the patches of each slide of a case, as multiples of an even share."""
    ends = np.cumsum([bag.n_patches for bag in bags])[:-1]
    return np.split(attention * len(attention), ends)
