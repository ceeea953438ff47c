"""Checks of the modules that plugins make, so that errors name the plugin."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gimp_plugin.config import ModelConfig
from gimp_plugin.errors import GimpError, PluginError, is_resource, listed
from gimp_plugin.plugins import imported, registry
from gimp_plugin.plugins.manager import in_one_line, is_ours

CASES_OF = {"gene-encoder": 0, "aggregator": 0, "fusion": 2, "head": 0}
"""Position of the argument that has one row per case; a system gets one case."""
CALLED_WITH: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gene-encoder": (("genes",), ()),
    "aggregator": (("tokens", "valid"), ("slide", "rows")),
    "fusion": (("cls_img", "cls_ge", "has_slides", "has_genes"), ()),
    "head": (("embedding",), ()),
    "system": (("features", "genes"), ()),
}
"""Arguments that a `forward` gets by position and by name."""
KIT = "gimp_plugin.testing checks a component before it is used"
TORCHS = frozenset(vars(nn.Module()))
"""Attributes of every torch module, including the tables of registered weights."""


def made(
    kind: str, name: str, config: ModelConfig, *, size: int | None = None, **sizes: int
) -> Any:
    """Make a part of a model, and check it, now and in use, if it comes from a plugin.

    Without the checks, a head that returned one value too many would be trained silently, and
    weights that torch does not know would be neither trained nor stored.

    Parameters
    ----------
    kind, name
        Kind and name of the component.
    config
        Configuration that it is called with.
    size
        Length of its output vectors: one per case, or a single one from a system; by default its
        `out_dim`.
    **sizes
        Other arguments that it is called with.

    Returns
    -------
    The module. A plugin's module raises PluginError whenever its `forward` returns another shape
    or anything other than floats of at most single precision.

    Raises
    ------
    PluginError
        If the component cannot be imported, or a plugin's component cannot be made, is not a
        module, cannot be called like its kind, or has weights that are not registered, or
        registered twice.
    """
    component = registry().component(kind, name)
    make, who = imported(component), f"{component.title} of plugin {component.origin}"
    if is_ours(component.origin):
        return make(config, **sizes)
    try:
        module = make(config, **sizes)
    except Exception as error:
        if isinstance(error, GimpError) or is_resource(error):
            raise
        given = ", ".join(["config", *(f"{key}={value}" for key, value in sizes.items())])
        problem = f"{who} cannot be made: {in_one_line(error)}"
        raise PluginError(problem, hint=f"it is called with ({given})") from error
    if not isinstance(module, nn.Module):
        problem = f"{who} is of type {type(module).__name__}, expected a torch.nn.Module"
        raise PluginError(problem, hint=KIT)
    _check_weights(module, who)
    positional, named = CALLED_WITH[kind]
    try:
        inspect.signature(module.forward).bind(*positional, **dict.fromkeys(named))
    except TypeError as error:
        given = ", ".join([*positional, *(f"{one}=" for one in named)])
        problem = f"the forward of {who} cannot be called with ({given}): {error}"
        raise PluginError(problem, hint=KIT) from error
    out_dim: Any = module.out_dim if size is None else size
    _watch(module, kind, who, size=out_dim)
    return module


def _check_weights(module: nn.Module, who: str) -> None:
    """Refuse weights that would not be trained and stored, or that have several names."""
    if lost := sorted(_unregistered(module)):
        problem = f"{who} holds weights that torch neither trains nor stores: {listed(lost)}"
        hint = "make them an nn.Parameter, a buffer (register_buffer), or an nn.ModuleList"
        raise PluginError(problem, hint=hint)
    names: dict[int, list[str]] = {}
    for name, one in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(one), []).append(name)
    if tied := [listed(several) for several in names.values() if len(several) > 1]:
        problem = f"{who} has weights under several names, which cannot be stored: {tied[0]}"
        raise PluginError(problem, hint="register them once")


def _unregistered(module: nn.Module) -> Iterator[str]:
    """Names of attributes that hold tensors or modules that are not registered."""
    known = {id(one) for one in (*module.parameters(), *module.buffers())}
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in TORCHS and any(id(one) not in known for one in _weights(value)):
                yield f"{prefix}.{name}".lstrip(".")


def _weights(value: Any) -> Iterator[Tensor]:
    """Tensors in an attribute that look like weights, not like a single number, mask or index."""
    if isinstance(value, nn.Module):
        yield from (*value.parameters(), *value.buffers())
    elif isinstance(value, Tensor):
        if value.requires_grad or (value.is_floating_point() and value.numel() > 1):
            yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _weights(one)


def _watch(module: nn.Module, kind: str, who: str, *, size: int) -> None:
    """Check the output of a module in each call; an aggregator returns a pair."""

    def check(_module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if kind == "aggregator" and not (isinstance(output, tuple) and len(output) == 2):
            gave = f"{who} gave {_spelled(output)}"
            problem = f"{gave}, expected a pair of CLS_img and the wanted patches"
            raise PluginError(problem, hint=KIT)
        place = CASES_OF.get(kind)
        shape = (size,) if place is None else (len(given[place]), size)
        found = output[0] if kind == "aggregator" else output
        if not (_is_float(found) and found.shape == shape):
            problem = f"{who} gave {_spelled(found)}, expected floats of shape {shape}"
            raise PluginError(problem, hint=KIT)
        if kind == "aggregator" and not (_is_float(output[1]) and output[1].shape[1:] == (size,)):
            problem = f"{who} gave {_spelled(output[1])} as the wanted patches, expected floats"
            raise PluginError(f"{problem} of shape (rows, {size})", hint=KIT)

    module.register_forward_hook(check)


def _is_float(found: Any) -> bool:
    """Whether an output is a tensor that the rest of a model can compute with."""
    return isinstance(found, Tensor) and found.is_floating_point() and found.dtype != torch.float64


def _spelled(found: Any) -> str:
    """Describe an output in words."""
    if isinstance(found, Tensor):
        return f"{found.dtype} of shape {tuple(found.shape)}"
    if isinstance(found, (list, tuple)):
        return f"a {type(found).__name__} of {len(found)}"
    return type(found).__name__
