"""`python -m gimp_plugin` is `gimp`."""

from __future__ import annotations

from gimp_plugin.cli.main import run

if __name__ == "__main__":
    run()
