"""Check of a system."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gimp_plugin.config import ModelConfig
from gimp_plugin.errors import ConfigError
from gimp_plugin.keys import MODALITIES
from gimp_plugin.models.system import loss_of
from gimp_plugin.plugins.protocols import SystemMaker
from gimp_plugin.testing.claims import (
    check_module,
    draw,
    made,
    require,
    require_logits,
    require_shape,
    small_config,
)

FEATURE_DIM, N_GENES = 11, 37

Halves = tuple[Tensor | None, Tensor | None]


def check_system(make: SystemMaker, *, config: ModelConfig | None = None) -> None:
    """Check a system, with all halves that it can be made for.

    Parameters
    ----------
    make
        The registered component, called with the configuration, `feature_dim`, `n_genes` and
        `n_classes`.
    config
        The model's configuration; a small model by default.
    """
    config = config or small_config()
    tried = [_checked(make, replace(config, modalities=halves)) for halves in MODALITIES]
    require(any(tried), f"it cannot be made for any of {', '.join(MODALITIES)}")


def _checked(make: SystemMaker, config: ModelConfig) -> bool:
    """Check the system of a model with these halves; False if it cannot be made for them."""
    for n_classes in (2, 5):
        maker = partial(make, config, feature_dim=FEATURE_DIM, n_genes=N_GENES, n_classes=n_classes)
        try:
            system = made(maker)
        except ConfigError:
            return False
        for n_patches in (13, 1):
            halves = _halves(config, n_patches)
            _check_case(system, halves, n_classes, what=f"bag of {n_patches}")
            check_module(maker, partial(_losses, halves=halves, n_classes=n_classes))
    return True


def _halves(config: ModelConfig, n_patches: int) -> Halves:
    """Features and genes of a case."""
    features = draw(n_patches, FEATURE_DIM, seed=3) if config.has_slides else None
    return features, draw(N_GENES, seed=4) if config.has_genes else None


def _check_case(system: Any, halves: Halves, n_classes: int, *, what: str) -> None:
    """Check logits and losses of a case, that it can train, and that its halves do not change."""
    before = [None if half is None else half.clone() for half in halves]
    with torch.no_grad():
        logits = system.eval()(*halves)
        require_shape(logits, (n_classes,), f"logits of a {what}")
        require_logits(logits, f"logits of a {what}")
        for label, loss in enumerate(_losses(system, halves, n_classes)):
            require_shape(loss, (), f"loss of a {what} of class {label}")
    try:
        _losses(system.train(), halves, n_classes)
    except (RuntimeError, ValueError) as error:
        raise AssertionError(f"a {what} cannot be trained on: {error}") from error
    for half, old in zip(halves, before, strict=True):
        if half is not None and old is not None:
            require(torch.equal(half, old), "it changed its input")


def _losses(system: nn.Module, halves: Halves, n_classes: int) -> list[Tensor]:
    """Loss of a case for each class that it could have."""
    return [loss_of(system, *halves, torch.tensor(label)) for label in range(n_classes)]
