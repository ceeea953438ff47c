"""What a user can type or implement stands in the documentation."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

from typing_extensions import is_protocol

from gimp_plugin import testing
from gimp_plugin.plugins import KINDS, hookspecs, protocols, registry
from gimp_plugin.studies.benchmark.methods import METHODS

DOCS = Path(__file__).parents[1] / "docs"


def all_pages():
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md")))


def test_the_page_of_the_command_line_is_what_the_commands_say():
    generator = runpy.run_path(str(DOCS / "generate_cli.py"))

    written = generator["PAGE"].read_text(encoding="utf-8")

    assert written == generator["page"](), "run python docs/generate_cli.py"


def test_every_hook_kind_and_component_is_documented():
    hooks = [name for name in vars(hookspecs) if name.startswith("gimp_")]
    names = [component.name for component in registry().components]
    pages = all_pages()

    missing = [name for name in (*hooks, *KINDS, *names) if f"`{name}`" not in pages]

    assert missing == []


def test_the_page_of_hooks_has_each_signature_protocol_and_check():
    page = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    hooks = [
        f"`{name}({', '.join(inspect.signature(one).parameters)})`"
        for name, one in vars(hookspecs).items()
        if name.startswith("gimp_")
    ]
    checks = [f"| `{kind}` | `" for kind in KINDS]
    checks += [f"`{one.__name__}({_arguments(one)})`" for one in testing.CHECKS.values()]
    kinds = [f"`{name}`" for name, one in vars(protocols).items() if is_protocol(one)]

    assert len(kinds) > len(KINDS)
    assert [text for text in (*hooks, *checks, *kinds) if text not in page] == []


def _arguments(check):
    """Names of a function's arguments; keywords end in =."""
    parameters = inspect.signature(check).parameters.values()
    return ", ".join(f"{one.name}{'=' * (one.kind is one.KEYWORD_ONLY)}" for one in parameters)


def test_every_method_of_a_comparison_is_documented():
    page = (DOCS / "how-to" / "benchmark.md").read_text(encoding="utf-8")

    assert [name for name in METHODS if f"| `{name}` |" not in page] == []
