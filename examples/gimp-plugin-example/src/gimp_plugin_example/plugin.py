"""What this distribution brings: names only, since it is imported whenever they are listed."""

from __future__ import annotations

from gimp_plugin.plugins import hookimpl

gimp_api = 1

HERE = "gimp_plugin_example"


@hookimpl
def gimp_components():
    """Name the components."""
    return [
        ("gene-encoder", "example-linear", f"{HERE}.linear:LinearGenes", "one linear layer"),
        ("aggregator", "example-mean", f"{HERE}.mean:MeanAggregator", "mean of the patches"),
        ("patch-encoder", "example-colour", f"{HERE}.colour:colour", "mean and spread of colours"),
    ]


@hookimpl
def gimp_commands():
    """Name the commands."""
    return [("example-bags", f"{HERE}.bags:command", "Count the patches of each slide.")]
