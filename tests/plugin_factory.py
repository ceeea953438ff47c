"""Installed plugins: real distributions with entry points, in a separate folder."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gimp_plugin.plugins import Registry, registry

GOOD = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_components():
        return [("aggregator", "mean", "statistics:mean", "mean of all patches")]
"""


def install(
    site: Path, distribution: str, source: str = GOOD, *, entry: str = "other", version: str = "2.1"
) -> str:
    """Install a distribution whose entry point is one module of the given source.

    Parameters
    ----------
    site
        Folder on `sys.path`.
    distribution
        Name of the distribution; its module has the same name with underscores.
    source
        Source of the module.
    entry
        Name of the entry point.
    version
        Version of the distribution.

    Returns
    -------
    The module's name.
    """
    module = distribution.replace("-", "_")
    metadata = site / f"{module}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(textwrap.dedent(source))
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    (metadata / "entry_points.txt").write_text(f"[gimp_plugin]\n{entry} = {module}\n")
    return module


def install_project(project: Path, site: Path, *, python: Path | str = sys.executable) -> None:
    """Install a distribution from source with setuptools, without network and wheel."""
    build = ("build_py", "--build-lib", "built")
    install = ("install_lib", "--build-dir", "built", "--install-dir", site)
    about = ("install_egg_info", "--install-dir", site)
    setup = "import setuptools; setuptools.setup()"
    called(python, "-W", "ignore", "-c", setup, "-q", *build, *install, *about, cwd=project)


def called(*command: object, cwd: Path | None = None) -> str:
    """Run a program without this one's Python path; return its output."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(part) for part in command]
    done = subprocess.run(words, env=clean, text=True, capture_output=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def installing(site: Path) -> Iterator[Callable[..., Registry]]:
    """Install plugins temporarily; each call returns the registry with all of them."""
    modules = []

    def plugin(distribution: str, source: str = GOOD, **options: str) -> Registry:
        modules.append(install(site, distribution, source, **options))
        registry.cache_clear()
        return registry()

    sys.path.insert(0, str(site))
    try:
        yield plugin
    finally:
        sys.path.remove(str(site))
        registry.cache_clear()
        for module in modules:
            sys.modules.pop(module, None)
