"""Commands by name; each is imported when it is first needed."""

from __future__ import annotations

import functools
import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

import gimp_plugin
from gimp_plugin.cli.logs import verbosity_options
from gimp_plugin.cli.settings import config_option
from gimp_plugin.errors import GimpError, PluginError, exit_code_of

if TYPE_CHECKING:
    from gimp_plugin.plugins import Command, Origin

COMMANDS = {
    "import-genes": "gimp_plugin.cli.import_genes",
    "import-slides": "gimp_plugin.cli.import_slides",
    "extract-features": "gimp_plugin.cli.extract_features",
    "convert-features": "gimp_plugin.cli.convert_features",
    "check": "gimp_plugin.cli.check",
    "split": "gimp_plugin.cli.split",
    "pretrain": "gimp_plugin.cli.pretrain",
    "finetune": "gimp_plugin.cli.finetune",
    "predict": "gimp_plugin.cli.predict",
    "evaluate": "gimp_plugin.cli.evaluate",
    "explain": "gimp_plugin.cli.explain",
    "report": "gimp_plugin.cli.report",
    "view": "gimp_plugin.cli.view",
    "export": "gimp_plugin.cli.export",
    "benchmark": "gimp_plugin.cli.benchmark",
    "demo": "gimp_plugin.cli.demo",
    "info": "gimp_plugin.cli.info",
    "verify": "gimp_plugin.cli.verify",
    "config": "gimp_plugin.cli.config",
    "plugins": "gimp_plugin.cli.plugins",
    "doctor": "gimp_plugin.cli.doctor",
}
"""Module of each command, in the order of `gimp --help`; its attribute `command` is the command."""


@functools.cache
def load(name: str) -> click.Command:
    """Import a command and add the options that every command has."""
    command: click.Command = importlib.import_module(COMMANDS[name]).command
    command.params += [config_option(command), *verbosity_options()]
    return command


def of_plugins() -> dict[str, Command]:
    """Return the commands of plugins by name; a name that is also one of ours is left out."""
    from gimp_plugin.plugins import registry

    return {one.name: one for one in registry().commands if one.name not in COMMANDS}


def n_failures() -> int:
    """Count the parts of plugins that failed to load."""
    from gimp_plugin.plugins import registry

    return len(registry().failures)


def load_foreign(found: Command) -> click.Command:
    """Import the command of a plugin; add -v and -q unless it has options of these names.

    Parameters
    ----------
    found
        The command.

    Returns
    -------
    The command.

    Raises
    ------
    PluginError
        If it cannot be imported or is not a click command.
    """
    from gimp_plugin.plugins import imported

    command = imported(found)
    if not isinstance(command, click.Command):
        where = f"{found.title} of plugin {found.origin} ({found.target})"
        raise PluginError(f"{where} is a {type(command).__name__}, expected a click.Command")
    taken = {name for param in command.params for name in param.opts}
    command.params += [one for one in verbosity_options() if not taken & set(one.opts)]
    return command


def blamed(name: str, error: BaseException) -> BaseException:
    """Turn an error from a plugin's code into one that names the plugin; return others unchanged.

    Parameters
    ----------
    name
        Name of the command that ran.
    error
        What it raised.

    Returns
    -------
    The error to report.
    """
    told = isinstance(error, (GimpError, BrokenPipeError)) or exit_code_of(error) != 1
    if told or not isinstance(error, Exception):
        return error
    message = " ".join(f"{type(error).__name__}: {error}".split())
    if name and name not in COMMANDS:
        found = of_plugins()[name]
        problem = f"{found.title} of plugin {found.origin} failed: {message}"
        theirs = PluginError(problem, hint=f"tell the authors of {found.origin.distribution}")
    elif place := _place_in_plugin(error):
        problem = f"the code of plugin {place[0]} failed: {message} ({place[1]})"
        hint = "gimp_plugin.testing checks its parts, -vv shows where it was called from"
        theirs = PluginError(problem, hint=hint)
    else:
        return error
    theirs.__cause__ = error
    return theirs


def _place_in_plugin(error: Exception) -> tuple[Origin, str] | None:
    """Find the plugin, file and line that raised an error; None if no plugin did."""
    if "gimp_plugin.plugins.registry" not in sys.modules:
        return None
    from gimp_plugin.plugins import registry
    from gimp_plugin.plugins.manager import is_ours

    try:
        components = registry().components
    except Exception:  # noqa: BLE001  # the first error is the one to report
        return None
    origins = {
        one.target.partition(":")[0].partition(".")[0]: one.origin
        for one in components
        if not is_ours(one.origin)
    }
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == gimp_plugin.__name__:
            return None
        if package in origins:
            return origins[package], f"{Path(frame.f_code.co_filename).name}, line {line}"
    return None


def every() -> Iterator[tuple[str, click.Command]]:
    """Yield the name and the command of each of ours."""
    for name in COMMANDS:
        yield name, load(name)
