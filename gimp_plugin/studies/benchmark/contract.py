"""Whether the plugins' parts that take part in a comparison keep the contract of their kind."""

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
    """Try the plugins' parts of each method, as their tests should, and warn of faults.

    What reads padding or the other cases of a batch, or gives something else once it is stored,
    seldom stops a training, but what it reaches says little.

    Parameters
    ----------
    config
        Of all methods.
    methods
        Their names.
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
                text = "%s of plugin %s does not keep its contract, and its figures may mislead: %s"
                logger.warning(text, component.title, component.origin, fault)


def _fault(component: Component, model: ModelConfig) -> str:
    """What is wrong with a part, tried at a small size; nothing where all is well."""
    make = imported(component)
    sizes: dict[str, Any] = {key.removeprefix("model."): value for key, value in SMALL.items()}
    try:
        CHECKS[component.kind](make, config=replace(model, **sizes))
    except GimpError:
        return ""  # it refuses this model, as the training will tell
    except Exception as error:  # noqa: BLE001  # a plugin's part may raise anything
        return " ".join((str(error) or type(error).__name__).split())
    return ""
