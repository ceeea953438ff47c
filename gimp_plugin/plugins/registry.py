"""What the plugins bring, by name: the one place where a typed name becomes an object."""

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
"""Seconds of import after which a plugin is told to be slow: every command waits for it."""

Row = TypeVar("Row", Component, Command)

logger = logging.getLogger(__name__)


class Registry:
    """Components and commands that the installed plugins bring.

    Parameters
    ----------
    components
        Those that can be used; no two of one kind and name.
    commands
        Commands that can be run, ours among them; no two of one name.
    failures
        Plugins and components that cannot, and why.
    disabled
        Plugins that the user blocked.
    seconds
        How long each plugin took to import.
    loaded
        The plugins themselves, for the hooks that are called while work is done.
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
        return imported(self.component(kind, name))

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


def imported(row: Component | Command) -> Any:
    """Import what a plugin named.

    Parameters
    ----------
    row
        A component or a command.

    Returns
    -------
    What its import string points at.

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
    """Load the plugins, once a process.

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
    found.failures += failures  # the clashes are known when both are through
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
    """Ask each plugin for its rows; what cannot be had becomes a failure."""
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
    """Leave out what another plugin brings too, by the same name; ours stays."""
    for row in rows:
        rivals = [other for other in rows if other.title == row.title and other is not row]
        if not rivals or is_ours(row.origin):
            yield row
            continue
        others = ", ".join(str(other.origin) for other in rivals)
        reason = f"{row.title} is also brought by plugin {others}"
        failures.append(PluginFailure(origin=row.origin, reason=reason))
