"""Equal tokens: before the first layer, all hidden patches are the mask token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True)
class Repeats:
    """One token of each kind, so that equal tokens are projected only once.

    Parameters
    ----------
    rows
        Index of one token of each kind, filled up with CLS.
    place
        Which of these each token equals.
    """

    rows: Int[Tensor, "batch _"]
    place: Int[Tensor, "batch patch"]

    @classmethod
    def of(cls, valid: Bool[Tensor, "batch patch"], masked: Bool[Tensor, "batch patch"]) -> Repeats:
        """Find the kinds: each visible token, all hidden tokens together, all padding together.

        Parameters
        ----------
        valid
            True for tokens that exist.
        masked
            True for tokens that are hidden.

        Returns
        -------
        The kinds, in the order of their first tokens.

        Examples
        --------
        >>> masked = torch.tensor([[False, True, False, True]])
        >>> repeats = Repeats.of(torch.ones_like(masked), masked)
        >>> repeats.rows.tolist(), repeats.place.tolist()
        ([[0, 1, 2]], [[0, 1, 2, 1]])
        """
        first = valid & ~masked
        for alike in (masked, ~valid):
            first |= alike & (alike.cumsum(dim=1) == 1)
        place = first.cumsum(dim=1) - 1
        for alike in (masked, ~valid):
            first_of_kind = place.masked_fill(~alike, place.shape[1]).amin(dim=1, keepdim=True)
            place = torch.where(alike, first_of_kind, place)
        rows = [one.nonzero().squeeze(1) for one in first]
        return cls(pad_sequence(rows, batch_first=True), place)
