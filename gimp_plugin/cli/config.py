"""`gimp config`: print a settings file to start from."""

from __future__ import annotations

import click

from gimp_plugin.cli import options


@click.command("config", short_help="Print a settings file for --config to start from.")
@options.preset
def command(preset: str | None) -> None:
    """Print all settings of a preset as a TOML file that every command takes as --config.

    A settings file holds what you want to change:

    \b
      [model] [genes] [pretrain] [finetune]  the model and the training of its stages,
      [options]                              options of every command that has them,
      [options.COMMAND]                      options of one command, by their long names.

    The command line wins over the file, the file over the preset. Unknown tables, keys and options
    are refused. Paths are relative to the folder that the command runs in.
    """  # noqa: D301  # click's mark for lines that are not to be wrapped
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
