"""The iterative pseudo-inverse of Nyström attention, scaled for each bag separately."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def apply_pinv(
    attention: Float[Tensor, "batch head landmark landmark"],
    values: Float[Tensor, "batch head landmark dim"],
    *,
    n_iterations: int,
) -> Float[Tensor, "batch head landmark dim"]:
    """Pseudo-inverse of each matrix A times its values, by the iteration of Nyströmformer.

    Z_0 = A'/c, Z_k+1 = Z_k (13 - X (15 - X (7 - X))) / 4 with X = A Z_k (arXiv 2102.03902, section
    3.3). c is the largest column sum among the heads of a bag; the rows of A sum to 1. The package
    takes c over the whole batch, which makes a bag depend on its batch mates. The last iteration
    is applied to the values from the right, without forming Z.

    All X are polynomials of AA'. Using that would halve the number of products, but make the
    rounding error ten times as large: more than a bag may change with the padding of its batch.

    Parameters
    ----------
    attention
        Attention among the landmarks; rows and columns of landmarks that do not exist are 0.
    values
        Values to apply the pseudo-inverse to.
    n_iterations
        1 or more; after only a few, small singular values are not inverted yet.

    Returns
    -------
    The product, 0 in the rows of landmarks that do not exist.
    """
    c = attention.sum(dim=-2).amax(dim=(1, 2))
    c = rearrange(c, "b -> b 1 1 1").expand(-1, attention.shape[1], -1, -1)
    a, v, c = (rearrange(one, "b h i j -> (b h) i j") for one in (attention, values, c))
    z = a.mT / c
    for _ in range(n_iterations - 1):
        x = a @ z
        inner = torch.baddbmm(x, x, x, beta=7, alpha=-1)
        inner = torch.baddbmm(x, x, inner, beta=15, alpha=-1)
        z = torch.baddbmm(z, z, inner, beta=13 / 4, alpha=-1 / 4)
    xv = a @ (z @ v)
    v = 13 * v - 15 * xv + a @ (z @ (7 * xv - a @ (z @ xv)))
    return rearrange(z @ v / 4, "(b h) i d -> b h i d", b=len(values))
