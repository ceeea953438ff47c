"""Systems of the comparison at a small size, with reproducible weights."""

from __future__ import annotations

import torch

from gimp_plugin.keys import BOTH, GENES, SLIDES
from gimp_plugin.plugins import registry
from tests.model_factory import FEATURE_DIM, N_CLASSES, small_config

N_GENES = 23
READS = {
    "transmil": SLIDES,
    "dsmil": SLIDES,
    "clam-sb": SLIDES,
    "clam-mb": SLIDES,
    "porpoise": BOTH,
    "mcat": BOTH,
    "pathomic-fusion": BOTH,
    "snn": GENES,
}
"""Halves that each system reads."""


def make_system(name: str, **changes):
    """Build a system in float64, in evaluation mode."""
    config = small_config(**{"modalities": READS[name], "system": name, **changes})
    torch.manual_seed(0)
    make = registry().load("system", name)
    sizes = {"feature_dim": FEATURE_DIM, "n_genes": N_GENES, "n_classes": N_CLASSES}
    return make(config, **sizes).double().eval()


def weights_of(module) -> dict[str, torch.Tensor]:
    """Parameters by name, detached."""
    return {name: one.detach() for name, one in module.named_parameters()}
