"""Check that components of plugins in a comparison keep the contract of their kind."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gimp_plugin.assembly.build import parts_of
from gimp_plugin.config import GimpConfig, ModelConfig
from gimp_plugin.errors import GimpError
from gimp_plugin.plugins import Component, imported, registry
from gimp_plugin.plugins.manager import is_ours
from gimp_plugin.studies.benchmark.methods import is_network, settings_of
from gimp_plugin.testing import CHECKS
from gimp_plugin.testing.claims import SMALL

logger = logging.getLogger(__name__)


def warn_of_parts(config: GimpConfig, methods: Iterable[str]) -> None:
    """Try the components of plugins in each method, as their own tests should, and warn of faults.

    A component that reads padding or the other cases of a batch, or gives different results once it
    is stored and loaded, seldom stops a training, but its figures are then misleading.

    Parameters
    ----------
    config
        Configuration of all methods.
    methods
        Names of the methods.
    """
    tried = set()
    for name in filter(is_network, methods):
        model = config.replace(settings_of(name)).model
        for kind, part in parts_of(model).items():
            component = registry().component(kind, part)
            if is_ours(component.origin) or (kind, part) in tried:
                continue
            tried.add((kind, part))
            if fault := _fault(component, model):
                text = "%s of plugin %s breaks its contract, so its figures may mislead: %s"
                logger.warning(text, component.title, component.origin, fault)


def _fault(component: Component, model: ModelConfig) -> str:
    """Describe the fault of a component, tried at a small size; empty if there is none."""
    make = imported(component)
    sizes: dict[str, Any] = {key.removeprefix("model."): value for key, value in SMALL.items()}
    try:
        CHECKS[component.kind](make, config=replace(model, **sizes))
    except GimpError:
        return ""  # it refuses this model; the training will report that
    except Exception as error:  # noqa: BLE001  # a plugin may raise anything
        return " ".join((str(error) or type(error).__name__).split())
    return ""
