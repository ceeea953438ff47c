"""Checks of Python, the installed packages and plugins, and which `gimp` the shell finds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import gimp_plugin
from gimp_plugin.plugins import registry
from gimp_plugin.plugins.manager import DISABLE
from gimp_plugin.studies.doctor.finding import FAIL, OK, WARN, Finding

OURS, TOOLBOX = "gimp-plugin", "tiatoolbox"
ALONE = "python -m pip install --upgrade gimp-plugin tiatoolbox"


def python() -> Iterator[Finding]:
    """Compare the version of Python with the requirement of the package."""
    version = platform.python_version()
    wanted = importlib.metadata.metadata(OURS)["Requires-Python"] or ">=3.11"
    good = SpecifierSet(wanted).contains(version, prereleases=True)
    yield Finding(
        name="python",
        state=OK if good else FAIL,
        detail=f"{version}, gimp-plugin {gimp_plugin.__version__}",
        remedy="" if good else f"gimp-plugin needs Python {wanted}",
    )


def packages() -> Iterator[Finding]:
    """Compare packages with our requirements, and with those of TIAToolbox, which are narrow."""
    n_good = 0
    for owner, state in ((OURS, FAIL), (TOOLBOX, WARN)):
        for text in importlib.metadata.requires(owner) or ():
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            fault = _fault(wanted)
            n_good += not fault
            if fault:
                problem = f"{fault}, {owner} needs {wanted.name}{wanted.specifier}"
                yield Finding(name="packages", state=state, detail=problem, remedy=ALONE)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in (TOOLBOX, "torch", "anndata")
    )
    yield Finding(name="packages", state=OK, detail=f"{n_good} requirements are met: {versions}")


def _fault(wanted: Requirement) -> str:
    """Say how one requirement is violated; empty if it is met."""
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{wanted.name} is missing"
    good = wanted.specifier.contains(version, prereleases=True)
    return "" if good else f"{wanted.name} {version} is installed"


def plugins() -> Iterator[Finding]:
    """Report plugins that did not load, or are slow to load."""
    found = registry()
    for failure in found.failures:
        remedy = f"update it, or {DISABLE}={failure.entry_point} leaves it out"
        yield Finding(name="plugins", state=FAIL, detail=str(failure), remedy=remedy)
    for origin, seconds in found.slow.items():
        detail = f"plugin {origin} takes {seconds:.1f} s to import"
        remedy = "its authors can keep heavy imports out of the plugin's own module"
        yield Finding(name="plugins", state=WARN, detail=detail, remedy=remedy)
    if not found.components:
        remedy = "install gimp-plugin with pip, even from a checkout"
        detail = "none is installed, not even gimp-plugin's own"
        yield Finding(name="plugins", state=FAIL, detail=detail, remedy=remedy)
    others = {str(each.origin) for each in found.components if each.distribution != OURS}
    detail = f"{len(found.components)} components" + "".join(f"; {each}" for each in sorted(others))
    yield Finding(name="plugins", state=OK, detail=detail)


def program() -> Iterator[Finding]:
    """Report whether the `gimp` that the shell finds is the one of this environment."""
    programs = list(programs_called("gimp"))
    if not programs:
        remedy = f"type python -m gimp_plugin, or put {_scripts()} on PATH"
        yield Finding(name="gimp", state=WARN, detail="no gimp on PATH", remedy=remedy)
        return
    first, *others = programs
    if is_of_this_environment(first):
        rest = f"; behind it {', '.join(map(str, others))}" if others else ""
        yield Finding(name="gimp", state=OK, detail=f"{first} is gimp-plugin{rest}")
    elif is_gimp_plugin(first):
        detail = f"{first} is the gimp-plugin of another environment"
        remedy = f"type python -m gimp_plugin, or put {_scripts()} first on PATH"
        yield Finding(name="gimp", state=WARN, detail=detail, remedy=remedy)
    else:
        here = any(map(is_of_this_environment, islice(programs_called(OURS), 1)))
        detail = f"{first} is not gimp-plugin (the image editor GIMP?)"
        remedy = f"type {OURS}, the same command" if here else "type python -m gimp_plugin"
        yield Finding(name="gimp", state=WARN, detail=detail, remedy=remedy)


def programs_called(name: str) -> Iterator[Path]:
    """Find the programs of one name on PATH, in search order.

    Parameters
    ----------
    name
        Name of the program.

    Yields
    ------
    Each program once.
    """
    seen = set()
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder or os.curdir) / name
        if path.is_file() and os.access(path, os.X_OK) and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def is_of_this_environment(path: Path) -> bool:
    """Tell whether a program is a command of this package, started with this Python."""
    if not is_gimp_plugin(path):
        return False
    if path.resolve().parent == _scripts().resolve():
        return True
    line = os.fsdecode(_beginning(path).partition(b"\n")[0])  # as after pip install --user
    theirs, ours = Path(line.removeprefix("#!").strip()), Path(sys.executable)
    return theirs.parent == ours.parent and theirs.resolve() == ours.resolve()


def is_gimp_plugin(path: Path) -> bool:
    """Tell whether a program is a command of this package, in any environment."""
    return b"gimp_plugin.cli" in _beginning(path)


def _beginning(path: Path) -> bytes:
    """First bytes of a program, which hold the whole of a small script."""
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError:  # may be run, but not read
        return b""


def _scripts() -> Path:
    """Folder of the programs of this Python."""
    return Path(sysconfig.get_path("scripts"))
