"""The documentation names functions, modules and pages that exist."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOTTED = re.compile(r"`(gimp_plugin(?:\.\w+)+)(?:\(\))?`")
SHORT = re.compile(r"`((?:cohort|data|evaluation|models|slides|training)(?:\.\w+)+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_dotted_name_of_a_page_can_be_imported(page):
    for name in sorted(set(DOTTED.findall(page.read_text(encoding="utf-8")))):
        pkgutil.resolve_name(name)


def test_every_short_name_beside_the_paper_can_be_imported():
    page = (ROOT / "docs" / "explanation" / "paper-to-code.md").read_text(encoding="utf-8")
    names = sorted(set(SHORT.findall(page)))

    assert len(names) > 20
    for name in names:
        pkgutil.resolve_name(f"gimp_plugin.{name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page):
    targets = set(LINK.findall(page.read_text(encoding="utf-8")))

    missing = [target for target in sorted(targets) if not (page.parent / target).exists()]

    assert missing == []
