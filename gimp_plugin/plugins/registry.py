"""Components and commands by name: the one place where a typed name becomes an object."""

from __future__ import annotations

import functools
import logging
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from gimp_plugin.errors import ConfigError, PluginError, did_you_mean, listed
from gimp_plugin.plugins.commands import Command, parse_command
from gimp_plugin.plugins.components import KINDS, Component, Origin, PluginFailure, parse_row
from gimp_plugin.plugins.manager import (
    Loaded,
    implementations,
    in_one_line,
    is_ours,
    load_plugins,
)

SLOW_S = 1.0
"""Seconds of import above which a plugin is reported as slow, since every command waits for it."""

Row = TypeVar("Row", Component, Command)

logger = logging.getLogger(__name__)


class Registry:
    """Components and commands that the installed plugins provide.

    Parameters
    ----------
    components
        Usable components; no two have the same kind and name.
    commands
        Usable commands, including ours; no two have the same name.
    failures
        Plugins, components and commands that are not usable, and why.
    disabled
        Plugins that the user blocked.
    seconds
        Import time of each plugin.
    loaded
        The plugins themselves, for the hooks that are called during work.
    """

    def __init__(
        self,
        components: Iterable[Component],
        *,
        commands: Iterable[Command] = (),
        failures: Iterable[PluginFailure] = (),
        disabled: Iterable[Origin] = (),
        seconds: Mapping[Origin, float] | None = None,
        loaded: Loaded | None = None,
    ) -> None:
        self.components = sorted(components, key=lambda one: (KINDS.index(one.kind), one.name))
        self.commands = sorted(commands, key=lambda one: one.name)
        self.failures = list(failures)
        self.disabled = list(disabled)
        self.seconds = dict(seconds or {})
        self.loaded = loaded

    @property
    def slow(self) -> dict[Origin, float]:
        """Plugins that take too long to import, and the seconds."""
        return {origin: taken for origin, taken in self.seconds.items() if taken > SLOW_S}

    def names(self, kind: str) -> list[str]:
        """Names of the components of one kind, sorted."""
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
            If no usable plugin provides it; the hint names plugins that failed.
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
        The object that the component's import string names.

        Raises
        ------
        PluginError
            If its module cannot be imported or lacks the attribute.
        """
        return imported(self.component(kind, name))

    def _hint(self, known: list[str]) -> str:
        """List the known names, and the plugins that failed or are disabled."""
        parts = [f"known are {listed(known, limit=20)}"] if known else []
        parts += [str(failure) for failure in self.failures]
        parts += [f"plugin {origin} is disabled" for origin in self.disabled]
        if not parts:
            parts = [
                "no plugin is installed, not even our own: install the package, even in a checkout"
            ]
        return "; ".join(parts)


def imported(row: Component | Command) -> Any:
    """Import a component or command.

    Parameters
    ----------
    row
        A component or a command.

    Returns
    -------
    The object that its import string names.

    Raises
    ------
    PluginError
        If its module cannot be imported or lacks the attribute.
    """
    try:
        return pkgutil.resolve_name(row.target)
    except (Exception, SystemExit) as error:
        where = f"{row.title} of plugin {row.origin} ({row.target})"
        raise PluginError(f"cannot import {where}: {in_one_line(error)}") from error


@functools.cache
def registry() -> Registry:
    """Load the plugins, once per process.

    Returns
    -------
    Every component and command that is registered, and every failure.
    """
    loaded = load_plugins()
    failures = list(loaded.failures)
    components = list(_rows(loaded, "gimp_components", parse_row, failures))
    commands = list(_rows(loaded, "gimp_commands", parse_command, failures))
    found = Registry(
        _without_clashes(components, failures),
        commands=_without_clashes(commands, failures),
        disabled=loaded.disabled,
        seconds=loaded.seconds,
        loaded=loaded,
    )
    found.failures += failures  # only now, because both generators have added the clashes
    for failure in found.failures:
        logger.debug("%s", failure)
    for origin, seconds in found.slow.items():
        logger.warning("plugin %s took %.1f s to import, as it does each time", origin, seconds)
    return found


def _rows(
    loaded: Loaded,
    hook: str,
    parse: Callable[[object, Origin], Row],
    failures: list[PluginFailure],
) -> Iterator[Row]:
    """Ask each plugin for its rows; an error or an invalid row becomes a failure."""
    for origin, implementation in implementations(loaded, hook):
        try:
            rows = list(cast("Iterable[object]", implementation()))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's hook may raise anything
            reason = f"{hook} raised {in_one_line(error)}"
            failures.append(PluginFailure(origin=origin, reason=reason))
            continue
        for row in rows:
            try:
                yield parse(row, origin)
            except ValueError as error:
                failures.append(PluginFailure(origin=origin, reason=str(error)))


def _without_clashes(rows: list[Row], failures: list[PluginFailure]) -> Iterator[Row]:
    """Leave out rows that another plugin also provides under the same name; ours stay."""
    for row in rows:
        rivals = [other for other in rows if other.title == row.title and other is not row]
        if not rivals or is_ours(row.origin):
            yield row
            continue
        others = ", ".join(str(other.origin) for other in rivals)
        reason = f"{row.title} is also provided by plugin {others}"
        failures.append(PluginFailure(origin=row.origin, reason=reason))
