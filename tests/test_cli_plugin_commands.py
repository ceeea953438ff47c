"""Commands that plugins add to `gimp`: shown by name, imported when run, blamed by name."""

from __future__ import annotations

import itertools
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.commands import blamed
from gimp_plugin.cli.main import cli
from gimp_plugin.plugins import manager
from tests.plugin_factory import GOOD, installing

SOURCE = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_commands():
        return [("hello", "hello_commands:hello", "Say hello."),
                ("gone", "no_such_module:command", "Cannot be imported."),
                ("wrong", "statistics:mean", "Is no command.")]
"""
COMMANDS = """
import logging, sys
import click
from gimp_plugin.errors import CohortError

@click.command()
@click.option("--how", default="well")
@click.option("-q", "quick", is_flag=True)
def hello(how, quick):
    if how == "badly":
        raise KeyError("no voice")
    if how == "ill":
        raise CohortError("no cohort")
    if how == "full":
        raise MemoryError
    if how == "away":
        sys.exit(9)
    logging.getLogger("gimp_plugin.hello").info("greeting")
    click.echo(f"hello, {how}")
"""


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "hello_commands.py").write_text(COMMANDS)
    with installing(tmp_path) as install:
        install("their-plugin", SOURCE, entry="theirs")
        yield install
    sys.modules.pop("hello_commands", None)


def gimp(*arguments):
    return CliRunner().invoke(cli, arguments)


def test_the_help_lists_them_apart_with_their_distribution_and_imports_none(plugin):
    shown = gimp("--help").stdout

    ours, theirs = shown.split("Commands of plugins:")
    assert "pretrain" in ours
    assert "hello  Say hello. [their-plugin]" in theirs
    assert "Failed to load" not in shown
    assert "hello_commands" not in sys.modules


def test_the_help_says_that_something_failed_to_load(plugin):
    plugin("broken", "import no_such_module", entry="broken")

    shown = gimp("--help").stdout

    assert "hello" in shown
    assert "Parts of plugins: 1 ('gimp plugins' says which and why)" in shown


def test_a_command_runs_with_its_options_and_ours(plugin):
    assert gimp("hello", "--how", "loud").stdout == "hello, loud\n"
    assert "greeting" in gimp("hello").stderr
    assert "greeting" not in gimp("-q", "hello").stderr
    options = gimp("hello", "--help").stdout
    assert "--verbose" in options
    assert "--quiet" not in options  # its -q is another


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone"], 2, "cannot import command 'gone' of plugin 'theirs' of their-plugin 2.1 (no_su"),
        (["wrong"], 2, "'theirs' of their-plugin 2.1 (statistics:mean) is a function, expected a"),
        (["hello", "--how", "badly"], 2, "of their-plugin 2.1 failed: KeyError: 'no voice'"),
        (["hello", "--how", "ill"], 3, "Error: no cohort"),
        (["hello", "--how", "full"], 5, "out of memory"),
        (["hello", "--how", "away"], 9, ""),
        (["hello", "--hwo", "x"], 2, "Did you mean '--how'?"),
        (["helo"], 2, "No such command 'helo', did you mean 'hello'?"),
    ],
)
def test_what_fails_is_told_with_its_plugin_and_is_no_bug_of_ours(plugin, arguments, code, message):
    result = gimp(*arguments)

    assert result.exit_code == code
    assert message in result.stderr
    assert "report" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_went_away_is_nobodys_fault(plugin):
    closed, broken = BrokenPipeError(), KeyError()

    assert blamed("hello", closed) is closed  # as in `gimp hello | head`
    assert blamed("hello", broken) is not broken


PARTS = """
    from pathlib import Path
    from gimp_plugin.plugins import hookimpl
    from gimp_plugin.errors import listed

    def broken():
        Path(1)

    @hookimpl
    def gimp_components():
        return [("aggregator", "broken", "parts_plugin:broken", "")]
"""


def test_what_the_code_of_a_part_raises_is_told_with_its_plugin_and_line(plugin):
    found = plugin("parts-plugin", PARTS, entry="parts")
    caught = []
    for call in (found.load("aggregator", "broken"), lambda: int("x")):
        try:
            call()
        except (TypeError, ValueError) as error:
            caught.append(error)

    theirs = blamed("pretrain", caught[0])
    assert theirs.problem.startswith("the code of plugin 'parts' of parts-plugin 2.1 failed: TypeE")
    assert theirs.problem.endswith("(parts_plugin.py, line 7)")
    assert blamed("pretrain", caught[1]) is caught[1]


def test_a_name_of_nobodys_may_be_of_the_plugin_that_failed(plugin):
    plugin("broken", "import no_such_module", entry="broken")

    result = gimp("greet")

    assert result.exit_code == 2
    assert "No such command 'greet'; a plugin failed to load ('gimp plugins')" in result.stderr


def test_a_command_of_ours_asks_no_plugin(tmp_path):
    with installing(tmp_path):
        code = (
            "import sys; from gimp_plugin.cli.main import cli;"
            "cli(['config'], standalone_mode=False); print('pluggy' in sys.modules)"
        )
        printed = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )

    assert printed.stdout.splitlines()[-1] == "False"


def test_clashing_broken_misspelt_and_slow_plugins_are_told_and_stop_nobody(
    plugin, tmp_path, monkeypatch
):
    seconds = itertools.count(0, 1.5)  # of the beginning and the end of each import
    monkeypatch.setattr(manager, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    plugin("first-plugin", GOOD, entry="first")
    plugin("second-plugin", GOOD, entry="second")
    plugin("broken", "raise RuntimeError('no licence')", entry="broken")
    plugin("misspelt", GOOD.replace("gimp_components", "gimp_componets"), entry="misspelt")

    listed, shown = gimp("plugins"), gimp("--help")

    assert (listed.exit_code, shown.exit_code) == (0, 0)
    for text in (
        "plugin 'theirs' of their-plugin 2.1: 1.5 s",
        "'first' of first-plugin 2.1: aggregator 'mean' is also provided by plugin 'second' of sec",
        "'second' of second-plugin 2.1: aggregator 'mean' is also provided by plugin 'first' of f",
        "'broken' of broken 2.1: RuntimeError: no licence",
        "'misspelt' of misspelt 2.1: implements the unknown hook 'gimp_componets', did you mean",
    ):
        assert text in listed.stdout
    assert "hello  Say hello." in shown.stdout
    assert "Parts of plugins: 4 ('gimp plugins' says which and why)" in shown.stdout


def test_a_blocked_plugin_has_no_command(plugin, monkeypatch):
    monkeypatch.setenv("GIMP_DISABLE_PLUGINS", "theirs")
    plugin("good-plugin", GOOD, entry="good")

    assert gimp("hello").exit_code == 2
    assert "Commands of plugins" not in gimp("--help").stdout
