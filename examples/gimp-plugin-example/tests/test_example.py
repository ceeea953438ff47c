"""Tests that the components meet the protocols of gimp-plugin, and that the command is found."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.plugins import registry
from gimp_plugin.testing import CHECKS

KINDS = {
    "gene-encoder": "example-linear",
    "aggregator": "example-mean",
    "patch-encoder": "example-colour",
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_component_keeps_the_contract_of_its_kind(kind):
    CHECKS[kind](registry().load(kind, KINDS[kind]))


def test_the_command_is_found_and_says_what_it_takes():
    result = CliRunner().invoke(cli, ["example-bags", "--help"])

    assert result.exit_code == 0
    assert "FEATURES" in result.output
