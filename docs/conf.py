"""Sphinx's settings; `make docs` builds the pages with warnings as errors."""

from __future__ import annotations

import gimp_plugin

project = "gimp-plugin"
author = "The gimp-plugin developers"
version = release = gimp_plugin.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"gimp-plugin {version}"
