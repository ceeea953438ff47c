"""Plugins as they are installed: good, broken, misspelt, clashing, blocked."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gimp_plugin.cli import commands
from gimp_plugin.errors import ConfigError, PluginError
from gimp_plugin.plugins import API_VERSION, KINDS, Component, Origin, Registry, manager, registry
from tests.plugin_factory import GOOD, install

OURS = Origin(entry_point="builtin", distribution="gimp-plugin", version="0")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Factory of installed plugins; gives the registry that sees them."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def make(*plugins):
        modules.extend(install(tmp_path, *plugin[:2], entry=plugin[2]) for plugin in plugins)
        registry.cache_clear()
        return registry()

    yield make
    registry.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


def test_our_components_come_in_by_the_entry_point():
    registry.cache_clear()

    found = registry()

    assert found.failures == []
    assert found.names("aggregator") == ["abmil", "nystrom", "nystrom-reference"]
    assert found.names("head") == ["linear", "mlp"]
    assert {component.kind for component in found.components} == set(KINDS)
    assert {component.distribution for component in found.components} == {"gimp-plugin"}


def test_a_plugin_adds_a_component_with_its_distribution_and_version(installed):
    found = installed(("their-plugin", GOOD, "theirs"))

    component = found.component("aggregator", "mean")

    assert (component.distribution, component.version) == ("their-plugin", "2.1")
    assert found.load("aggregator", "mean")([1, 3]) == 2
    assert found.failures == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit('nothing to see')", "SystemExit: nothing to see"),
        ("def (", "SyntaxError: invalid syntax (broken.py, line 1)"),
        (GOOD.replace("gimp_components", "gimp_componets"), "did you mean 'gimp_components'?"),
        (GOOD.replace("@hookimpl", ""), "implements no hook (is the marker"),
        (GOOD.replace("components()", "components(device)"), "PluginValidationError"),
        (GOOD.replace("return [", "return ["[:-1] + "1 / 0, ["), "raised ZeroDivisionError"),
        (GOOD.replace('"aggregator", ', ""), "a component is (kind, name, 'module:attribute'"),
        (GOOD.replace("aggregator", "agregator"), "kind 'agregator', did you mean 'aggregator'?"),
        (GOOD.replace("statistics:mean", "statistics.mean"), "needs a name and 'module:attr"),
        (
            GOOD.replace("@hookimpl", "@hookimpl(wrapper=True)").replace("return", "yield"),
            "its gimp_components is a wrapper",
        ),
        (GOOD + "    gimp_api = 2\n", "needs version 2 of the plugin interface, gimp-plugin"),
        (GOOD + "    gimp_api = '1'\n", "gimp_api = '1', expected a whole number from 1"),
        (GOOD + "    gimp_api = 0\n", "gimp_api = 0, expected a whole number from 1"),
    ],
)
def test_a_faulty_plugin_is_reported_and_the_others_work(installed, source, reason):
    found = installed(("broken", source, "broken"), ("their-plugin", GOOD, "theirs"))

    (failure,) = found.failures
    assert (failure.entry_point, failure.distribution) == ("broken", "broken")
    assert reason in failure.reason
    assert "mean" in found.names("aggregator")
    assert "nystrom" in found.names("aggregator")


def test_a_plugin_of_this_version_of_the_interface_is_taken(installed):
    found = installed(("their-plugin", GOOD + f"    gimp_api = {API_VERSION}\n", "theirs"))

    assert (found.failures, "mean" in found.names("aggregator")) == ([], True)


def test_a_plugin_for_a_later_interface_is_refused_for_that_before_its_unknown_hooks(installed):
    newer = GOOD.replace("gimp_components", "gimp_of_tomorrow") + "    gimp_api = 7\n"

    (failure,) = installed(("their-plugin", newer, "theirs")).failures

    assert failure.reason.endswith("has 1: update gimp-plugin")


def test_a_slow_plugin_is_told_with_its_seconds(installed, monkeypatch, caplog):
    seconds = itertools.count(0, 1.7)  # of the beginning and the end of each import
    monkeypatch.setattr(manager, "time", SimpleNamespace(monotonic=lambda: next(seconds)))

    found = installed(("their-plugin", "raise RuntimeError('late')", "theirs"))

    (_, slow) = found.slow.items()
    assert (slow[0].distribution, round(slow[1], 3)) == ("their-plugin", 1.7)
    assert "plugin 'theirs' of their-plugin 2.1 took 1.7 s to import" in caplog.text


COMMANDS = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_commands():
        return [ROW]
"""
COMMAND = ("hello", "statistics:mean", "say hello")


def with_command(*row):
    return COMMANDS.replace("ROW", repr(row))


def test_a_plugin_adds_a_command(installed):
    found = installed(("their-plugin", with_command(*COMMAND), "theirs"))

    (command,) = [one for one in found.commands if one.origin.distribution == "their-plugin"]
    assert (command.name, command.target, command.summary) == COMMAND
    assert found.failures == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("hello", "statistics:mean"), "a command is (name, 'module:attribute', summary), not"),
        (("hello", "statistics", "x"), "command 'hello' needs a name and 'module:attribute'"),
        (("He llo", "statistics:mean", "x"), "expected small letters, digits and single hyphens"),
        (("--help", "statistics:mean", "x"), "expected small letters, digits and single hyphens"),
        (
            ("predict", "statistics:mean", "x"),
            "command 'predict' is also provided by plugin 'built",
        ),
    ],
)
def test_a_faulty_command_is_reported(installed, row, reason):
    found = installed(("their-plugin", with_command(*row), "theirs"))

    (failure,) = found.failures
    assert reason in failure.reason
    assert {one.origin.distribution for one in found.commands} == {"gimp-plugin"}


def test_two_commands_of_one_name_are_both_refused(installed):
    source = with_command(*COMMAND)

    found = installed(("first-plugin", source, "first"), ("second-plugin", source, "second"))

    assert "hello" not in [one.name for one in found.commands]
    assert {failure.distribution for failure in found.failures} == {"first-plugin", "second-plugin"}


def test_the_names_that_no_plugin_can_take_are_those_of_our_commands():
    ours = {one.name: one.target.partition(":")[0] for one in registry().commands}

    assert ours == commands.COMMANDS


def test_two_plugins_of_one_name_are_both_reported_by_distribution(installed):
    found = installed(("first-plugin", GOOD, "same"), ("second-plugin", GOOD, "same"))

    reasons = {failure.distribution: failure.reason for failure in found.failures}
    assert "'same' of second-plugin 2.1" in reasons["first-plugin"]
    assert "'same' of first-plugin 2.1" in reasons["second-plugin"]
    assert found.names("aggregator") == ["abmil", "nystrom", "nystrom-reference"]


def test_a_plugin_cannot_take_the_name_of_ours(installed):
    found = installed(("thief", GOOD, "builtin"))

    assert [failure.distribution for failure in found.failures] == ["thief"]
    assert "nystrom" in found.names("aggregator")


def test_blocking_one_of_two_namesakes_by_its_distribution_frees_the_other(installed, monkeypatch):
    monkeypatch.setenv("GIMP_DISABLE_PLUGINS", "first-plugin")

    found = installed(("first-plugin", GOOD, "same"), ("second-plugin", GOOD, "same"))

    assert found.component("aggregator", "mean").distribution == "second-plugin"
    assert [origin.distribution for origin in found.disabled] == ["first-plugin"]


def test_two_components_of_one_kind_and_name_are_both_refused(installed):
    found = installed(("first-plugin", GOOD, "first"), ("second-plugin", GOOD, "second"))

    assert "mean" not in found.names("aggregator")
    assert {failure.distribution for failure in found.failures} == {"first-plugin", "second-plugin"}
    with pytest.raises(
        ConfigError, match=r"also provided by plugin 'second' of second-plugin 2\.1"
    ):
        found.component("aggregator", "mean")


def test_our_component_stays_when_a_plugin_takes_its_name(installed):
    found = installed(("thief", GOOD.replace('"mean"', '"nystrom"'), "thief"))

    assert found.component("aggregator", "nystrom").distribution == "gimp-plugin"
    (failure,) = found.failures
    assert failure.reason == (
        "aggregator 'nystrom' is also provided by plugin 'builtin' of gimp-plugin "
        + found.component("aggregator", "nystrom").version
    )


def test_a_plugin_may_repeat_no_component_of_its_own(installed):
    row = '("aggregator", "mean", "statistics:mean", "mean of all patches")'
    found = installed(("their-plugin", GOOD.replace(row, f"{row}, {row}"), "theirs"))

    assert "mean" not in found.names("aggregator")
    assert len(found.failures) == 2


def test_plugins_are_blocked_by_name(installed, monkeypatch):
    monkeypatch.setenv("GIMP_DISABLE_PLUGINS", "theirs, builtin")

    found = installed(("their-plugin", "raise RuntimeError", "theirs"))

    assert (found.components, found.failures) == ([], [])
    assert {origin.entry_point for origin in found.disabled} == {"theirs", "builtin"}
    with pytest.raises(ConfigError, match=r"'builtin' of gimp-plugin .* is disabled"):
        found.component("aggregator", "nystrom")


def test_blocking_an_unknown_plugin_is_said(installed, monkeypatch, caplog):
    monkeypatch.setenv("GIMP_DISABLE_PLUGINS", "thiers")

    installed(("their-plugin", GOOD, "theirs"))

    assert "names an unknown plugin: 'thiers', did you mean 'theirs'?" in caplog.text


def test_the_nearest_name_is_offered():
    with pytest.raises(
        ConfigError, match="unknown gene encoder 'groupmas', did you mean 'groupmsa'"
    ):
        registry().component("gene-encoder", "groupmas")


def test_an_unknown_name_is_explained_by_the_plugin_that_failed(installed):
    found = installed(("broken", "import no_such_module", "broken"))

    with pytest.raises(ConfigError) as caught:
        found.component("aggregator", "mean")
    assert "plugin 'broken' of broken 2.1: ModuleNotFoundError" in caught.value.hint


@pytest.mark.parametrize("target", ["no_such_module:thing", "statistics:no_such_thing"])
def test_a_component_that_cannot_be_imported_names_its_plugin(installed, target):
    found = installed(("their-plugin", GOOD.replace("statistics:mean", target), "theirs"))

    with pytest.raises(
        PluginError, match=rf"cannot import aggregator 'mean' of plugin 'theirs' of.*{target}"
    ):
        found.load("aggregator", "mean")


def test_a_dotted_target_is_followed():
    component = Component(
        kind="head", name="counted", target="builtins:str.count", summary="", origin=OURS
    )

    assert Registry([component]).load("head", "counted")("banana", "a") == 3


def test_without_any_plugin_the_installation_is_questioned():
    with pytest.raises(ConfigError) as caught:
        Registry([]).component("aggregator", "nystrom")
    assert "no plugin is installed" in caught.value.hint


def test_registering_imports_nothing_heavy():
    code = (
        "import json, sys; from gimp_plugin.plugins import registry; registry();"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )

    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout

    heavy = {"torch", "tiatoolbox", "anndata", "scanpy", "pandas", "numpy", "h5py"}
    assert heavy.isdisjoint(json.loads(printed))
