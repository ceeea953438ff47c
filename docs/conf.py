"""Sphinx's settings; `make docs` builds the pages with warnings as errors."""

from __future__ import annotations

import re
import warnings
from typing import Any

from sphinx.application import Sphinx
from sphinx.deprecation import RemovedInSphinx10Warning

import gimp_plugin

# sphinx-autodoc-typehints 3.5 on Sphinx 9; later ones need a Sphinx that TIAToolbox excludes.
warnings.filterwarnings("ignore", ".*set_application", category=RemovedInSphinx10Warning)

project = "gimp-plugin"
author = "The gimp-plugin developers"
version = release = gimp_plugin.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

default_role = "code"  # docstrings write `code`
autodoc_member_order = "bysource"
napoleon_google_docstring = False
typehints_fully_qualified = False
always_use_bars_union = True

html_theme = "furo"
html_title = f"gimp-plugin {version}"


def as_numpydoc(_app: Sphinx, _what: str, _name: str, _object: Any, *rest: Any) -> None:
    """Put prose under Returns where numpydoc wants it, for types stand in the signature only."""
    lines: list[str] = rest[-1]
    below = False
    changed: list[str] = []
    for number, line in enumerate(lines):
        heading = line in {"Returns", "Yields"} and lines[number + 1].startswith("---")
        if below and not line.startswith("---"):
            changed.append(f"    {line}".rstrip())
        else:
            changed.append(line)
        if below and line.startswith("---"):
            changed.append(":")
        below = heading or (below and bool(line))
    lines[:] = [re.sub(r"`(\w+)`(?=\w)", r"``\1``\\ ", line) for line in changed]


def setup(app: Sphinx) -> None:
    """Connect before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", as_numpydoc, priority=400)
