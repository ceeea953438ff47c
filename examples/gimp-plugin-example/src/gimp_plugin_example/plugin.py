"""Names of what this plugin provides; no heavy imports, since every command imports this module."""

from __future__ import annotations

from gimp_plugin.plugins import hookimpl

gimp_api = 1

HERE = "gimp_plugin_example"


@hookimpl
def gimp_components():
    """Return one row per component: kind, name, import string, summary."""
    return [
        ("gene-encoder", "example-linear", f"{HERE}.linear:LinearGenes", "one linear layer"),
        ("aggregator", "example-mean", f"{HERE}.mean:MeanAggregator", "mean of the patches"),
        ("patch-encoder", "example-colour", f"{HERE}.colour:colour", "mean and spread of colours"),
    ]


@hookimpl
def gimp_commands():
    """Return one row per command: name, import string, summary."""
    return [("example-bags", f"{HERE}.bags:command", "Count the patches of each slide.")]
