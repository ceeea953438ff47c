"""A command."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("example-bags")
@click.argument("features", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(features: Path) -> None:
    """Print how many patches each slide of a folder of FEATURES has."""
    from gimp_plugin.storage.bags import list_bags

    for bag in list_bags(features):
        click.echo(f"{bag.slide_id}\t{bag.n_patches}")
