"""The iterative pseudo-inverse of Nyström attention, applied instead of formed."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def apply_pinv(
    attention: Float[Tensor, "batch head landmark landmark"],
    values: Float[Tensor, "batch head landmark dim"],
    *,
    n_iterations: int,
) -> Float[Tensor, "batch head landmark dim"]:
    """Pseudo-inverse of each matrix times its values, by the iteration of Nyströmformer.

    With Z_0 = A'/c, the iteration (arXiv 2102.03902, equation 14) is

        Z <- Z P(A Z) / 4,  P(X) = 13 - 15 X + 7 X^2 - X^3.

    All X = A Z are polynomials of A A', so they commute, and Z values = A'/c prod P(X_k)/4 values:
    only X and the values need to be carried, and two products of matrices an iteration replace
    four. c is the largest column sum of a bag's heads; the rows of an attention sum to 1. The
    package takes it over the whole batch, which makes a bag depend on its batch mates.

    Parameters
    ----------
    attention
        Non-negative, rows sum to 1; rows and columns of landmarks that do not exist are 0.
    values
        What the pseudo-inverse is applied to.
    n_iterations
        Number of iterations, 1 or more; 6 is the package's.

    Returns
    -------
    The product, 0 in the rows of landmarks that do not exist.
    """
    n_bags, n_heads, n_landmarks, dim = values.shape
    flipped = attention.mT
    scale = attention.sum(dim=-2).amax(dim=(-2, -1)).view(-1, 1, 1, 1)
    carried = torch.cat([attention @ flipped / scale, values], dim=-1).flatten(0, 1)
    for _ in range(n_iterations - 1):
        carried = _advance(carried, n_landmarks)
    x, values = carried[..., :n_landmarks], carried[..., n_landmarks:]
    first = x @ values
    values = 3.25 * values - 3.75 * first + 0.25 * (x @ (7 * first - x @ first))
    return flipped @ values.view(n_bags, n_heads, n_landmarks, dim) / scale


def _advance(
    carried: Float[Tensor, "batch landmark columns"], n_landmarks: int
) -> Float[Tensor, "batch landmark columns"]:
    """P(X)/4 times [X, values], as X first and X^2 after; sums are folded into the products."""
    first = carried[..., :n_landmarks] @ carried
    squared = first[..., :n_landmarks]
    return torch.baddbmm(
        torch.sub(carried, first, alpha=15 / 13),
        squared,
        torch.sub(carried, first, alpha=1 / 7),
        beta=13 / 4,
        alpha=7 / 4,
    )
