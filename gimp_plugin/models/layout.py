"""Where the tokens of a batch of bags lie: computed once, used by every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BagLayout:
    """Padding, landmarks and neighbourhood of the tokens of a batch of bags.

    Parameters
    ----------
    valid
        True for tokens that exist, or None if all do; padding follows them.
    landmark
        Landmark that each token is averaged into.
    size
        Number of tokens that each landmark is the mean of.
    live
        True for landmarks that exist, or None if all do; a short bag has fewer.
    blanks
        Number of zero tokens in front of each bag that are attended to like others, or None.
    place
        Place of each token in the convolution, with gaps between slides; None for one slide.
    n_places
        Number of places in the convolution; 0 without `place`.
    """

    valid: Bool[Tensor, "batch patch"] | None
    landmark: Int[Tensor, "batch patch"]
    size: Int[Tensor, "batch landmark"]
    live: Bool[Tensor, "batch landmark"] | None = None
    blanks: Int[Tensor, " batch"] | None = None
    place: Int[Tensor, "batch _"] | None = None
    n_places: int = 0

    @classmethod
    def balanced(
        cls,
        valid: Bool[Tensor, "batch patch"],
        n_landmarks: int,
        *,
        place: Int[Tensor, "batch _"] | None = None,
    ) -> BagLayout:
        """Contiguous segments whose sizes differ by at most one.

        Parameters
        ----------
        valid
            True for tokens that exist.
        n_landmarks
            m; a bag of n tokens has min(m, n) landmarks.
        place
            Place of each token in the convolution.

        Returns
        -------
        The layout.

        Examples
        --------
        >>> layout = BagLayout.balanced(torch.ones(1, 5, dtype=torch.bool), 3)
        >>> layout.landmark.tolist(), layout.size.tolist()
        ([[0, 0, 1, 1, 2]], [[2, 2, 1]])
        """
        token, n_tokens = _count(valid)
        slot = torch.arange(min(n_landmarks, valid.shape[1]) + 1, device=valid.device)
        n_live = n_tokens.clamp(max=len(slot) - 1)
        first = -(-slot * n_tokens // n_live)
        return cls(
            valid=_unless_all(valid),
            landmark=(token * n_live // n_tokens).clamp(max=len(slot) - 2),
            size=first.diff(dim=1),
            live=_unless_all(slot[:-1] < n_live),
            place=place,
            n_places=_n_places(place),
        )

    @classmethod
    def front_padded(
        cls,
        valid: Bool[Tensor, "batch patch"],
        n_landmarks: int,
        *,
        place: Int[Tensor, "batch _"] | None = None,
    ) -> BagLayout:
        """Equal segments, after zeros are put in front of each bag, as in nystrom-attention.

        Parameters
        ----------
        valid
            True for tokens that exist.
        n_landmarks
            m, for bags of any length.
        place
            Place of each token in the convolution.

        Returns
        -------
        The layout.

        Examples
        --------
        >>> layout = BagLayout.front_padded(torch.ones(1, 5, dtype=torch.bool), 3)
        >>> layout.landmark.tolist(), layout.size.tolist(), layout.blanks.tolist()
        ([[0, 1, 1, 2, 2]], [[2, 2, 2]], [1])
        """
        token, n_tokens = _count(valid)
        size = -(-n_tokens // n_landmarks)
        blanks = size * n_landmarks - n_tokens
        return cls(
            valid=_unless_all(valid),
            landmark=((token + blanks) // size).clamp(max=n_landmarks - 1),
            size=size.expand(-1, n_landmarks),
            blanks=rearrange(blanks, "b 1 -> b"),
            place=place,
            n_places=_n_places(place),
        )

    def key_mask(
        self, dtype: torch.dtype
    ) -> Bool[Tensor, "batch 1 1 patch"] | Float[Tensor, "batch 1 1 _"] | None:
        """Mask for attention to the tokens, with one key in front of them if there are blanks.

        Key and value of every blank are 0, so one key represents all blanks of a bag: its logit is
        the logarithm of their number.

        Parameters
        ----------
        dtype
            Type of the attention.

        Returns
        -------
        A boolean mask, values to add to the logits, or None if neither is needed.
        """
        if self.blanks is None:
            return None if self.valid is None else rearrange(self.valid, "b n -> b 1 1 n")
        tokens = torch.zeros_like(self.landmark, dtype=dtype)
        if self.valid is not None:
            tokens = tokens.masked_fill(~self.valid, -torch.inf)
        blanks = rearrange(self.blanks.to(dtype).log(), "b -> b 1")
        return rearrange(torch.cat([blanks, tokens], dim=1), "b n -> b 1 1 n")


def slides_of(sizes: Sequence[int], *, device: torch.device) -> Int[Tensor, "1 patch"]:
    """Slide of each patch of one case.

    Parameters
    ----------
    sizes
        Number of patches of each slide.
    device
        Device of the result.

    Returns
    -------
    Index of each patch's slide, slide after slide.

    Examples
    --------
    >>> slides_of([2, 0, 3], device=torch.device("cpu")).tolist()
    [[0, 0, 2, 2, 2]]
    """
    n_patches = torch.tensor(sizes, dtype=torch.long, device=device)
    slide = torch.arange(len(sizes), device=device).repeat_interleave(n_patches)
    return rearrange(slide, "n -> 1 n")


def places_apart(
    slide: Int[Tensor, "batch patch"], *, gap: int
) -> Int[Tensor, "batch patch"] | None:
    """Places that keep the slides of a case apart in a convolution.

    Parameters
    ----------
    slide
        Slide of each patch.
    gap
        Number of empty places between one slide and the next.

    Returns
    -------
    The place of each patch, or None if no bag has more than one slide.

    Examples
    --------
    >>> places_apart(torch.tensor([[0, 0, 1]]), gap=2).tolist()
    [[0, 1, 4]]
    >>> places_apart(torch.tensor([[3, 3, 3]]), gap=2) is None
    True
    """
    starts = slide.diff(dim=1, prepend=slide[:, :1]) != 0
    if not starts.any():
        return None
    return torch.arange(slide.shape[1], device=slide.device) + gap * starts.cumsum(dim=1)


def _n_places(place: Int[Tensor, "batch _"] | None) -> int:
    """Number of places up to the last one with a token."""
    return 0 if place is None else int(place.max()) + 1


def _count(
    valid: Bool[Tensor, "batch patch"],
) -> tuple[Int[Tensor, " patch"], Int[Tensor, "batch 1"]]:
    """Index of each token, and the number of tokens of each bag, at least 1."""
    token = torch.arange(valid.shape[1], device=valid.device)
    return token, valid.sum(dim=1, keepdim=True).clamp(min=1)


def _unless_all(mask: Bool[Tensor, "batch _"]) -> Bool[Tensor, "batch _"] | None:
    """The mask, or None if all of it is True, because attention without a mask is faster."""
    return None if mask.all() else mask
