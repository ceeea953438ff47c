"""The documentation's table of the presets says what the presets are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gimp_plugin.cli.toml import to_toml
from gimp_plugin.config import PRESETS, load_preset

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "model.md"
ROW = re.compile(
    r"^\| `(?P<setting>\w+)` \| `(?P<recommended>[^`]+)` \| `(?P<paper>[^`]+)` \|", re.MULTILINE
)


def documented(preset):
    """Lines of TOML by table, as the page has them."""
    page = PAGE.read_text(encoding="utf-8")
    return {
        section.partition("]")[0]: [
            f"{row['setting']} = {row[preset]}" for row in ROW.finditer(section)
        ]
        for section in page.split("\n### `[")[1:]
    }


def shipped(preset):
    """Lines of TOML by table, as `gimp config` prints them."""
    tables = load_preset(preset).to_dict()
    return {name: to_toml({name: table}).splitlines()[1:] for name, table in tables.items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_of_settings_is_the_preset(preset):
    assert documented(preset) == shipped(preset)
