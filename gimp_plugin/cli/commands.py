"""The commands by name, each imported when it is first asked for."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator

import click

from gimp_plugin.cli.logs import verbosity_options
from gimp_plugin.cli.settings import config_option

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
    """Import a command and give it the options that every command has."""
    command: click.Command = importlib.import_module(COMMANDS[name]).command
    command.params += [config_option(command), *verbosity_options()]
    return command


def every() -> Iterator[tuple[str, click.Command]]:
    """Give all commands by name."""
    for name in COMMANDS:
        yield name, load(name)
