"""Modules of plugins that are watched: what they give in a wrong shape is told with their name."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gimp_plugin.errors import PluginError
from gimp_plugin.plugins import registry
from gimp_plugin.plugins.manager import is_ours

CASES_OF = {"gene-encoder": 0, "aggregator": 0, "fusion": 2, "head": 0}
"""Place of the argument that has one row a case; a system gets one case."""


def guarded(module: Any, kind: str, name: str, *, size: int) -> Any:
    """Watch a plugin's module; one of ours is left as it is.

    A head that gave one number too many would be trained without a word.

    Parameters
    ----------
    module
        What the plugin made.
    kind, name
        Of the component.
    size
        Length of the vector that it promises: a row a case, or alone from a system.

    Returns
    -------
    The module. Its `forward` raises PluginError when what it gives is of another shape, or no
    floating numbers; of an aggregator that is CLS_img, its first output.
    """
    component = registry().component(kind, name)
    if is_ours(component.origin) or not isinstance(module, nn.Module):
        return module

    def check(_module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        place = CASES_OF.get(kind)
        shape = (size,) if place is None else (len(given[place]), size)
        found = output[0] if kind == "aggregator" and isinstance(output, tuple) else output
        if isinstance(found, Tensor) and found.is_floating_point() and found.shape == shape:
            return
        spelled = type(found).__name__
        if isinstance(found, Tensor):
            spelled = f"{found.dtype} of shape {tuple(found.shape)}"
        problem = f"{component.title} of plugin {component.origin} gave {spelled}"
        hint = "gimp_plugin.testing checks a component before it is used"
        raise PluginError(f"{problem}, expected floats of shape {shape}", hint=hint)

    module.register_forward_hook(check)
    return module
