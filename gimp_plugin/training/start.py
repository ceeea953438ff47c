"""Initial weights computed from the training cases instead of drawn at random."""

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
    """Make the decoder start with the median of the training patches as its constant output.

    Of all guesses that ignore the neighbours of a patch, the median has the smallest L1 error, so
    training is spent on what the neighbours add. From random weights, it takes hundreds of steps to
    find the median.

    Parameters
    ----------
    model
        The model, whose decoder is changed in place.
    material
        The cases.
    """
    sample = model.patches.normalise(_sample(material.only(slides=True).train))
    last = model.decoder[-1]
    last.weight.zero_()
    last.bias.copy_(sample.median(dim=0).values)


def _sample(cases: Sequence[Case]) -> Float[Tensor, "patch feature"]:
    """Features of a few short sequences of patches per slide, evenly spaced."""
    runs = [
        read_features(bag, start, min(start + RUN, bag.n_patches))
        for case in cases[:: max(1, len(cases) // N_CASES)]
        for bag in case.bags
        for start in np.unique(np.linspace(0, max(0, bag.n_patches - RUN), N_RUNS, dtype=int))
    ]
    return torch.from_numpy(np.concatenate(runs))
