"""`gimp plugins`: what is registered, from where, and what failed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.plugins import Command, Component, Origin, PluginFailure, Registry

OURS = Origin(entry_point="builtin", distribution="gimp-plugin", version="0.1")
THEIRS = Origin(entry_point="theirs", distribution="their-plugin", version="2.1")


@pytest.fixture
def printed(monkeypatch):
    """What the command prints of a registry with a component, a failure and a blocked plugin."""
    component = Component(
        kind="head", name="mlp", target="m:mlp", summary="two layers", origin=OURS
    )
    failure = PluginFailure(origin=THEIRS, reason="ImportError: no such thing")
    ours = Command(name="predict", target="m:predict", summary="", origin=OURS)
    command = Command(name="hello", target="m:hello", summary="says hello", origin=THEIRS)
    found = Registry(
        [component],
        commands=[ours, command],
        failures=[failure],
        disabled=[THEIRS],
        seconds={OURS: 0.1, THEIRS: 2.34},
    )
    monkeypatch.setattr("gimp_plugin.plugins.registry", lambda: found)

    def run(*arguments):
        result = CliRunner().invoke(cli, ["plugins", *arguments])
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    return run


def test_a_person_reads_a_table_and_what_failed(printed):
    assert printed().splitlines() == [
        "head     mlp    two layers  gimp-plugin 0.1",
        "command  hello  says hello  their-plugin 2.1",
        "",
        "slow to import (every command that looks up names waits for it):",
        "  plugin 'theirs' of their-plugin 2.1: 2.3 s",
        "",
        "failed:",
        "  plugin 'theirs' of their-plugin 2.1: ImportError: no such thing",
        "",
        "disabled:",
        "  plugin 'theirs' of their-plugin 2.1",
    ]


def test_a_program_reads_the_same_as_json(printed):
    theirs = {"plugin": "theirs", "distribution": "their-plugin", "version": "2.1"}

    assert json.loads(printed("--json")) == {
        "components": [
            {
                "kind": "head",
                "name": "mlp",
                "summary": "two layers",
                "target": "m:mlp",
                "plugin": "builtin",
                "distribution": "gimp-plugin",
                "version": "0.1",
            }
        ],
        "commands": [
            {"name": "hello", "summary": "says hello", "target": "m:hello", **theirs},
        ],
        "slow": [{**theirs, "seconds": 2.34}],
        "failures": [{**theirs, "reason": "ImportError: no such thing"}],
        "disabled": [theirs],
    }


def test_an_installation_without_failures_says_nothing_of_them():
    result = CliRunner().invoke(cli, ["plugins"])

    assert "nystrom-reference" in result.stdout
    assert "failed" not in result.stdout
