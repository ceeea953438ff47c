"""Moving rows within each sequence of a batch; the gradient is also only copied."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


def take_rows(
    x: Float[Tensor, "batch patch dim"], rows: Int[Tensor, "batch rows"]
) -> Float[Tensor, "batch rows dim"]:
    """Rows of each sequence, by index.

    Parameters
    ----------
    x
        Sequences.
    rows
        Index of the rows to take; one may be taken several times.

    Returns
    -------
    The rows.

    Examples
    --------
    >>> x = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    >>> take_rows(x, torch.tensor([[1], [0]])).flatten().tolist()
    [2.0, 3.0]
    """
    flat = rearrange(x, "b n d -> (b n) d").index_select(0, _flat(rows, x.shape[1]))
    return rearrange(flat, "(b r) d -> b r d", b=len(x))


def add_rows(
    x: Float[Tensor, "batch patch dim"], rows: Int[Tensor, "batch patch"], n_rows: int
) -> Float[Tensor, "batch rows dim"]:
    """Sum the rows of each sequence that go to the same place.

    Parameters
    ----------
    x
        Sequences.
    rows
        Place that each row goes to.
    n_rows
        Number of places.

    Returns
    -------
    The sums; 0 at places that no row goes to.

    Examples
    --------
    >>> x = torch.tensor([[[1.0], [2.0], [4.0]]])
    >>> add_rows(x, torch.tensor([[2, 0, 2]]), 3).flatten().tolist()
    [2.0, 0.0, 5.0]
    """
    flat = rearrange(x, "b n d -> (b n) d")
    summed = flat.new_zeros(len(x) * n_rows, x.shape[-1]).index_add(0, _flat(rows, n_rows), flat)
    return rearrange(summed, "(b r) d -> b r d", b=len(x))


def _flat(rows: Int[Tensor, "batch rows"], n_rows: int) -> Int[Tensor, " batch*rows"]:
    """Index into sequences of `n_rows` laid end to end."""
    first = n_rows * torch.arange(len(rows), device=rows.device)
    return rearrange(rows + rearrange(first, "b -> b 1"), "b r -> (b r)")
