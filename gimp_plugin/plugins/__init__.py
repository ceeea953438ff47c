"""Plugins: what can be exchanged, who brings it, and what failed to load.

A plugin is a module or object that a distribution names in the entry-point group `gimp_plugin`; its
functions marked with `hookimpl` implement the hooks of `gimp_plugin.plugins.hookspecs`.
"""

from __future__ import annotations

from gimp_plugin.plugins.components import (
    KINDS,
    Component,
    Origin,
    PluginFailure,
    split_name,
)
from gimp_plugin.plugins.hookspecs import hookimpl
from gimp_plugin.plugins.registry import Registry, registry

__all__ = [
    "KINDS",
    "Component",
    "Origin",
    "PluginFailure",
    "Registry",
    "hookimpl",
    "registry",
    "split_name",
]
