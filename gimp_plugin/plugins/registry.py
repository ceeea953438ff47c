"""Components by kind and name: the one place where a name that a user typed becomes an object."""

from __future__ import annotations

import functools
import logging
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any, cast

from gimp_plugin.errors import ConfigError, PluginError, did_you_mean, listed
from gimp_plugin.plugins.components import KINDS, Component, Origin, PluginFailure, parse_row
from gimp_plugin.plugins.manager import Loaded, in_one_line, is_ours, load_plugins

logger = logging.getLogger(__name__)


class Registry:
    """Components that the installed plugins bring.

    Parameters
    ----------
    components
        Those that can be used; no two of one kind and name.
    failures
        Plugins and components that cannot, and why.
    disabled
        Plugins that the user blocked.
    """

    def __init__(
        self,
        components: Iterable[Component],
        *,
        failures: Iterable[PluginFailure] = (),
        disabled: Iterable[Origin] = (),
    ) -> None:
        self.components = sorted(components, key=lambda one: (KINDS.index(one.kind), one.name))
        self.failures = list(failures)
        self.disabled = list(disabled)

    def names(self, kind: str) -> list[str]:
        """Names of one kind's components, sorted."""
        return [component.name for component in self.components if component.kind == kind]

    def component(self, kind: str, name: str) -> Component:
        """Find a component without importing it.

        Parameters
        ----------
        kind
            One of `gimp_plugin.plugins.KINDS`.
        name
            Name as the user typed it.

        Returns
        -------
        The component.

        Raises
        ------
        ConfigError
            If no usable plugin brings it; plugins that failed are named in the hint.
        """
        for component in self.components:
            if (component.kind, component.name) == (kind, name):
                return component
        known = self.names(kind)
        problem = f"unknown {kind.replace('-', ' ')} {name!r}{did_you_mean(name, known)}"
        raise ConfigError(problem, hint=self._hint(known))

    def load(self, kind: str, name: str) -> Any:
        """Import a component.

        Parameters
        ----------
        kind
            One of `gimp_plugin.plugins.KINDS`.
        name
            Name as the user typed it.

        Returns
        -------
        What the component's import string points at.

        Raises
        ------
        PluginError
            If its module cannot be imported or lacks the attribute.
        """
        component = self.component(kind, name)
        try:
            return pkgutil.resolve_name(component.target)
        except (Exception, SystemExit) as error:
            where = f"{kind} {name!r} of plugin {component.origin} ({component.target})"
            raise PluginError(f"cannot import {where}: {in_one_line(error)}") from error

    def _hint(self, known: list[str]) -> str:
        """Say what there is, and which plugins are missing from it."""
        parts = [f"known are {listed(known, limit=20)}"] if known else []
        parts += [str(failure) for failure in self.failures]
        parts += [f"plugin {origin} is disabled" for origin in self.disabled]
        if not parts:
            parts = [
                "no plugin is installed, not even ours: install the package, also from a checkout"
            ]
        return "; ".join(parts)


@functools.cache
def registry() -> Registry:
    """Load the plugins, once a process.

    Returns
    -------
    Every component that is registered, and every failure.
    """
    loaded = load_plugins()
    rows = list(_rows(loaded))
    found = Registry(
        _without_clashes(rows, loaded.failures), failures=loaded.failures, disabled=loaded.disabled
    )
    for failure in found.failures:
        logger.debug("%s", failure)
    return found


def _rows(loaded: Loaded) -> Iterator[Component]:
    """Ask each plugin for its components; what cannot be had becomes a failure."""
    for name, origin in loaded.origins.items():
        for implementation in loaded.manager.hook.gimp_components.get_hookimpls():
            if implementation.plugin_name != name:
                continue
            try:
                rows = list(cast("Iterable[object]", implementation.function()))
            except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's hook may raise anything
                reason = f"gimp_components raised {in_one_line(error)}"
                loaded.failures.append(PluginFailure(origin=origin, reason=reason))
                continue
            yield from _parsed(rows, origin, loaded.failures)


def _parsed(
    rows: list[object], origin: Origin, failures: list[PluginFailure]
) -> Iterator[Component]:
    """Check each row of one plugin."""
    for row in rows:
        try:
            yield parse_row(row, origin)
        except ValueError as error:
            failures.append(PluginFailure(origin=origin, reason=str(error)))


def _without_clashes(
    components: list[Component], failures: list[PluginFailure]
) -> Iterator[Component]:
    """Leave out components whose kind and name another plugin brings too; ours stay."""
    for component in components:
        key = (component.kind, component.name)
        rivals = [
            other
            for other in components
            if (other.kind, other.name) == key and other is not component
        ]
        if not rivals or is_ours(component.origin):
            yield component
            continue
        others = ", ".join(str(other.origin) for other in rivals)
        reason = f"{component.kind} {component.name!r} is also brought by plugin {others}"
        failures.append(PluginFailure(origin=component.origin, reason=reason))
