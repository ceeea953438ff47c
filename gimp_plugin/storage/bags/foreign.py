"""Readers of bags from plugins; errors name the reader."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import BagError, GimpError, PluginError, is_resource
from gimp_plugin.plugins import Component, Registry, registry
from gimp_plugin.plugins.manager import in_one_line, is_ours
from gimp_plugin.storage.bags.info import BagInfo, check_shapes
from gimp_plugin.storage.bags.layout import Layout

logger = logging.getLogger(__name__)

KIND = "feature-reader"
SHAPE = ("name", "suffix", "opened", "claims", "look", "rows", "corners")


def foreign_layouts() -> tuple[Layout, ...]:
    """Return the layouts of plugins' readers, in the order of their names.

    Returns
    -------
    Layouts that can be imported; others give only a warning, since other bags do not need them.
    """
    return _foreign(registry())


@functools.cache
def _foreign(found: Registry) -> tuple[Layout, ...]:
    """Layouts of a registry's readers."""
    layouts = []
    for component in found.components:
        if component.kind != KIND or is_ours(component.origin):
            continue
        try:
            layouts.append(_guarded(found.load(KIND, component.name), component))
        except PluginError as error:
            logger.warning("%s", error)
    return tuple(layouts)


def _guarded(reader: Any, component: Component) -> Layout:
    """Layout of a plugin's reader, under its registered name, that raises only our errors."""
    missing = [name for name in SHAPE if not hasattr(reader, name)]
    if missing:
        problem = f"{component.title} of plugin {component.origin} lacks {', '.join(missing)}"
        raise PluginError(problem, hint="give a gimp_plugin.storage.bags.layout.Layout")

    @contextmanager
    def opened(path: Path) -> Iterator[Any]:
        with _blamed(component, path), reader.opened(path) as file:
            yield path, file

    def claims(opened: tuple[Path, Any]) -> bool:
        path, file = opened
        with _blamed(component, path):
            return bool(reader.claims(file))

    def look(path: Path, opened: tuple[Path, Any]) -> BagInfo:
        with _blamed(component, path):
            info = replace(reader.look(path, opened[1]), layout=component.name)
        check_shapes(path, (info.n_patches, info.dim), None)
        return info

    def rows(info: BagInfo, opened: tuple[Path, Any], start: int, stop: int | None) -> NDArray[Any]:
        with _blamed(component, info.path):
            found = np.asarray(reader.rows(info, opened[1], start, stop))
        n_rows = len(range(info.n_patches)[start:stop])
        return _checked(found, (n_rows, info.dim), f"rows {start} to {stop}", component, info)

    def corners(info: BagInfo, opened: tuple[Path, Any]) -> NDArray[Any]:
        with _blamed(component, info.path):
            found = np.asarray(reader.corners(info, opened[1]))
        return _checked(found, (info.n_patches, 2), "corners", component, info)

    return Layout(
        name=component.name,
        suffix=reader.suffix,
        opened=opened,
        claims=claims,
        look=look,
        rows=rows,
        corners=corners,
    )


def _checked(
    found: NDArray[Any], shape: tuple[int, int], what: str, component: Component, info: BagInfo
) -> NDArray[Any]:
    """Refuse an array of another shape than requested, which would mix up rows."""
    if found.shape == shape and found.dtype.kind in "fiu":
        return found
    reader = f"{component.title} of plugin {component.origin}"
    gave = f"gave {what} of shape {found.shape} and type {found.dtype}"
    raise BagError(f"{str(info.path)!r}: {reader} {gave}, expected {shape} of numbers")


@contextmanager
def _blamed(component: Component, path: Path) -> Iterator[None]:
    """Add the plugin and the file to any error that a reader raises."""
    try:
        yield
    except Exception as error:
        if isinstance(error, GimpError) or is_resource(error):
            raise
        reader = f"{component.title} of plugin {component.origin}"
        raise BagError(f"{str(path)!r}: {reader} raised {in_one_line(error)}") from error
