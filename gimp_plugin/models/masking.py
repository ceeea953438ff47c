"""Choice of the patches that masked patch modeling hides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def draw_mask(
    valid: Bool[Tensor, "batch patch"],
    ratio: float,
    generator: torch.Generator | Sequence[torch.Generator],
    *,
    source: Int[Tensor, "batch patch"] | None = None,
) -> Bool[Tensor, "batch patch"]:
    """Hide a random share of each bag's own patches.

    Parameters
    ----------
    valid
        True for patches that exist.
    ratio
        Share to hide: exactly round(ratio n) of n patches, but never the last visible one, which
        a share near 1 would hide in a bag of few.
    generator
        Randomness on the CPU: one generator for all bags in turn, or one per bag, which makes the
        mask of a bag independent of its batch mates.
    source
        Patch that each patch is a copy of, if a short bag was tiled; a patch is hidden with all
        its copies, and n counts the originals.

    Returns
    -------
    True for hidden patches.

    Examples
    --------
    >>> valid = torch.tensor([[True, True, True, True, False]])
    >>> draw_mask(valid, 0.5, torch.Generator().manual_seed(0)).sum().item()
    2
    """
    generators = [generator] * len(valid) if isinstance(generator, torch.Generator) else generator
    masked = torch.zeros_like(valid)
    for row, own_generator in enumerate(generators):
        own = valid[row].nonzero().squeeze(1).cpu()
        copies = own if source is None else source[row, own].cpu()
        originals, original = torch.unique(copies, return_inverse=True)
        hidden = torch.zeros(len(originals), dtype=torch.bool)
        chosen = torch.randperm(len(originals), generator=own_generator)
        n_hidden = min(round(ratio * len(originals)), max(0, len(originals) - 1))
        hidden[chosen[:n_hidden]] = True
        masked[row, own] = hidden[original].to(valid.device)
    return masked
