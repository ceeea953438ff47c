"""Check of a patch encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gimp_plugin.testing.claims import made, require, require_close, require_shape

TEXTS = ("name", "weights_sha256", "licence", "preprocessing")
NUMBERS = ("dim", "input_size", "mpp")
N_PATCHES = 3


def check_patch_encoder(
    make: Any, *, argument: str | None = None, weights: Path | None = None
) -> None:
    """Check a patch encoder, in offline mode.

    Parameters
    ----------
    make
        The registered component, a `gimp_plugin.plugins.protocols.PatchEncoderMaker`.
    argument
        Text that a user writes after the colon of a family's name; None for a single encoder.
    weights
        File of weights, as for `--weights`.
    """
    given: dict[str, Any] = {} if argument is None else {"argument": argument}
    first, second = (make(weights=weights, offline=True, **given) for _ in range(2))
    for name in TEXTS:
        value = getattr(first, name)
        require(isinstance(value, str) and value, f"{name} is {value!r}, expected non-empty text")
    for name in NUMBERS:
        value = getattr(first, name)
        positive = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        require(positive, f"{name} is {value!r}, expected a positive number")
    for name in (*TEXTS, *NUMBERS):
        require(getattr(first, name) == getattr(second, name), f"two calls gave a different {name}")
    side = int(first.input_size)
    generator = torch.Generator().manual_seed(0)
    shape = (N_PATCHES, side, side, 3)
    patches = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    network, other = (made(one.module, seed=seed) for seed, one in enumerate((first, second)))
    _check_features(network.eval(), other.eval(), patches, dim=int(first.dim))


@torch.no_grad()
def _check_features(network: Any, other: Any, patches: Tensor, *, dim: int) -> None:
    """Check that each patch has one vector, the same in each network and in any batch."""
    before = patches.clone()
    features = network(patches)
    require_shape(features, (N_PATCHES, dim), "its output for patches")
    alone = torch.cat([network(patches[one : one + 1]) for one in range(N_PATCHES)])
    require_close([features], [alone], "a patch's features depend on the other patches")
    claim = "two networks with the same name and hash differ: are the weights random?"
    require_close([other(patches)], [features], claim)
    require(torch.equal(patches, before), "it changed its input")
    require(not torch.equal(features[0], features[1]), "two patches have the same features")
