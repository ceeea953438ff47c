"""Identify the weights and the code of an encoder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

FOUNDATIONS = {"torch", "torchvision", "timm", "tiatoolbox", "builtins"}
"""Packages whose classes are parts of many encoders; a bag states their versions separately."""

SITES = {"site-packages", "dist-packages"}


def state_sha256(network: nn.Module) -> str:
    """Hash a network's state: names, types, shapes and bytes, in the order of the names.

    Parameters
    ----------
    network
        The network.

    Returns
    -------
    The same hash for equal states, whatever file they came from.
    """
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu().contiguous()
            digest.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:  # extra state of a module
            digest.update(f"{name}\0{value!r}\0".encode())
    return digest.hexdigest()


def code_of(*objects: object) -> dict[str, str]:
    """Identify the code of objects, by its distribution and version or by a hash of its files.

    Parameters
    ----------
    objects
        Modules, functions, classes and instances.

    Returns
    -------
    Identity by top-level package: an installed package by its version, any other by the hash of
    all its Python files, which changes with every edit.
    """
    tops = {_module_of(each).partition(".")[0] for each in objects}
    return {top: _identity(top) for top in sorted(tops - FOUNDATIONS)}


def _module_of(each: object) -> str:
    """Name of a module, or of the module that an object comes from."""
    if isinstance(each, ModuleType):
        return each.__name__
    return str(getattr(each, "__module__", None) or type(each).__module__)


def _identity(top: str) -> str:
    """Version or hash of one top-level package or module."""
    file = getattr(sys.modules.get(top), "__file__", None)
    paths = [*map(str, getattr(sys.modules.get(top), "__path__", ()))]
    place = Path(file) if file else Path(paths[0]) if paths else None
    if place is None:
        return "no file"
    if SITES & set(place.parts):  # excludes a checkout, even an installed one
        for name in importlib.metadata.packages_distributions().get(top, ()):
            return f"{name} {importlib.metadata.version(name)}"
    if place.name == "__init__.py":
        place = place.parent
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(place.parent)}\0".encode() + path.read_bytes() + b"\0")
    return f"sha256 {digest.hexdigest()}"
