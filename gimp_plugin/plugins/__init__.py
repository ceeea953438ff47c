"""Plugins: which components can be replaced, who provides them, and what failed to load.

A plugin is a module or object that a distribution names in the entry-point group `gimp_plugin`. Its
functions marked with `hookimpl` implement the hooks of `gimp_plugin.plugins.hookspecs`.
`gimp_plugin.plugins.protocols` specifies its components, and `gimp_plugin.testing` tests them.
"""

from __future__ import annotations

from gimp_plugin.plugins.commands import Command
from gimp_plugin.plugins.components import (
    KINDS,
    Component,
    Origin,
    PluginFailure,
    split_name,
)
from gimp_plugin.plugins.hookspecs import API_VERSION, hookimpl
from gimp_plugin.plugins.registry import Registry, imported, registry

__all__ = [
    "API_VERSION",
    "KINDS",
    "Command",
    "Component",
    "Origin",
    "PluginFailure",
    "Registry",
    "hookimpl",
    "imported",
    "registry",
    "split_name",
]
