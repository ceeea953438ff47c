"""Hooks that a plugin may implement, and the two markers that tie both sides together."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

PROJECT = "gimp_plugin"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

ComponentRow = tuple[str, str, str, str]


@hookspec
def gimp_components() -> Iterable[ComponentRow]:  # type: ignore[empty-body]  # a specification
    """Name the components that this plugin brings.

    Give one row a component: its kind (one of `gimp_plugin.plugins.KINDS`), the name that users
    type, an import string `"module:attribute"`, and a summary of one line. That module is imported
    when the component is first used, so keep torch out of the plugin's own module.
    """
