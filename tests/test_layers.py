"""The package as a whole: layers, typing, metadata, and what is shipped."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import gimp_plugin
from gimp_plugin.config import PRESETS

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "gimp_plugin").rglob("*.py"))


def test_imports_point_down_only():
    script = Path(sys.executable).with_name("lint-imports")

    checked = subprocess.run([script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout


def test_every_module_says_what_it_is_for():
    without = [path.name for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]

    assert without == []


def test_presets_and_the_typing_marker_are_shipped():
    shipped = {path.name for path in files("gimp_plugin").joinpath("presets").iterdir()}

    assert {f"{name}.toml" for name in PRESETS} <= shipped
    assert files("gimp_plugin").joinpath("py.typed").is_file()


def test_the_version_is_the_distributions():
    assert version("gimp-plugin") == gimp_plugin.__version__


def test_both_scripts_start_the_same_command():
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}

    assert scripts["gimp"] == scripts["gimp-plugin"] == "gimp_plugin.cli.main:run"


def test_dependencies_have_lower_bounds_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]

    bounded = [one for one in (*project["dependencies"], *extras) if "<" in one or "==" in one]

    assert bounded == []


def test_nothing_is_written_for_a_newer_python_than_required():
    for path in SOURCES:
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 11))
