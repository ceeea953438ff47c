"""Weights that start from the training cases, not at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gimp_plugin.data.cases import Case
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.storage.bags import read_features
from gimp_plugin.training.material import Material

N_CASES, N_RUNS, RUN = 512, 4, 16


@torch.no_grad()
def start_decoder_at_median(model: GimpModel, material: Material) -> None:
    """Let the decoder begin with the median of the training cases' patches, whatever it is given.

    Of the guesses that do not look at a patch's neighbours that one has the smallest L1 error, so
    that training goes into what the neighbours tell. From random weights, hundreds of steps go
    into finding it.

    Parameters
    ----------
    model
        Its decoder is changed in place.
    material
        The cases.
    """
    sample = model.patches.normalise(_sample(material.only(slides=True).train))
    last = model.decoder[-1]
    last.weight.zero_()
    last.bias.copy_(sample.median(dim=0).values)


def _sample(cases: Sequence[Case]) -> Float[Tensor, "patch feature"]:
    """A few short runs of patches of each slide of some cases, evenly taken."""
    runs = [
        read_features(bag, start, min(start + RUN, bag.n_patches))
        for case in cases[:: max(1, len(cases) // N_CASES)]
        for bag in case.bags
        for start in np.unique(np.linspace(0, max(0, bag.n_patches - RUN), N_RUNS, dtype=int))
    ]
    return torch.from_numpy(np.concatenate(runs))
