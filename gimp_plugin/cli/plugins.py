"""`gimp plugins`: list components, where they come from, and what failed to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gimp_plugin.cli import options

if TYPE_CHECKING:
    from gimp_plugin.plugins import Command, Origin, Registry


@click.command("plugins", short_help="List components, their origin, and what failed to load.")
@options.as_json
def command(*, as_json: bool) -> None:
    """List components and commands, the distributions they come from, and what failed to load.

    Plugins are entry points of the group gimp_plugin. The environment variable
    GIMP_DISABLE_PLUGINS=NAME,... disables plugins by the name of their entry point or distribution.
    """
    import json

    from gimp_plugin.plugins import registry

    found = registry()
    click.echo(json.dumps(to_dict(found), indent=1) if as_json else to_text(found))


def to_dict(found: Registry) -> dict[str, Any]:
    """Return a registry as plain values."""
    return {
        "components": [
            {
                "kind": component.kind,
                "name": component.name,
                "summary": component.summary,
                "target": component.target,
                **_origin(component.origin),
            }
            for component in found.components
        ],
        "commands": [
            {
                "name": command.name,
                "summary": command.summary,
                "target": command.target,
                **_origin(command.origin),
            }
            for command in _foreign(found)
        ],
        "slow": [
            {**_origin(origin), "seconds": round(seconds, 3)}
            for origin, seconds in found.slow.items()
        ],
        "failures": [
            {**_origin(failure.origin), "reason": failure.reason} for failure in found.failures
        ],
        "disabled": [_origin(origin) for origin in found.disabled],
    }


def to_text(found: Registry) -> str:
    """Format a registry for people to read."""
    rows = [
        (
            component.kind,
            component.name,
            component.summary,
            f"{component.distribution} {component.version}",
        )
        for component in found.components
    ]
    rows += [
        ("command", one.name, one.summary, f"{one.origin.distribution} {one.origin.version}")
        for one in _foreign(found)
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if found.slow:
        lines += ["", "slow to import (every command that looks up names waits for it):"]
        lines += [f"  plugin {origin}: {taken:.1f} s" for origin, taken in found.slow.items()]
    if found.failures:
        lines += ["", "failed:", *(f"  {failure}" for failure in found.failures)]
    if found.disabled:
        lines += ["", "disabled:", *(f"  plugin {origin}" for origin in found.disabled)]
    return "\n".join(lines)


def _foreign(found: Registry) -> list[Command]:
    """Return the commands of plugins; ours are listed by `gimp --help`."""
    from gimp_plugin.plugins.manager import is_ours

    return [command for command in found.commands if not is_ours(command.origin)]


def _origin(origin: Origin) -> dict[str, str]:
    """Return plugin, distribution and version."""
    return {
        "plugin": origin.entry_point,
        "distribution": origin.distribution,
        "version": origin.version,
    }
