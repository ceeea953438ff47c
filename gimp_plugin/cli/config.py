"""`gimp config`: print a settings file to start from."""

from __future__ import annotations

import click

from gimp_plugin.cli import options


@click.command("config", short_help="Print a settings file for --config to start from.")
@options.preset(from_run=False)
def command(preset: str | None) -> None:
    """Print all settings of a preset as TOML, for the option --config of every command.

    A settings file needs only what you want to change:

    \b
      [model] [genes] [pretrain] [finetune]  the model and the training of its stages,
      [options]                              options of every command that has them,
      [options.COMMAND]                      options of one command, by their long names.

    The command line overrides the file, and the file overrides the preset. Unknown tables, keys and
    options are refused. Paths are relative to the current folder.
    """  # noqa: D301  # click's mark for lines to leave unwrapped
    from gimp_plugin.cli.given import gimp_config
    from gimp_plugin.cli.toml import to_toml

    config = gimp_config({"preset": preset}, stage="pretrain")
    click.echo(to_toml(config.to_dict(), comment=EXAMPLE), nl=False)


EXAMPLE = """\
Settings of gimp-plugin; give them with --config FILE.toml.
Options go into tables of their own, for instance:

[options]
adata = "genes.h5ad"
device = "cpu"

[options.finetune]
from = "runs/pretrain"
"""
