"""Masks given as outlines in level-0 pixels: GeoJSON of QuPath, annotation store of TIAToolbox."""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.slides.masks.pixels import MAX_PIXELS
from gimp_plugin.slides.tissue.mask import TissueMask, TissueMaskError

MAX_BYTES = 64_000_000
"""Largest GeoJSON file; parsing may need thirty times as much memory."""

MAX_GEOMETRY_BYTES = 256_000_000
IGNORED = "Ignore"
"""QuPath's classes with this prefix (`Ignore*`) are cut out."""

FRACTION_BITS = 4
FURTHEST = float(1 << 26)
"""Largest coordinate in mask pixels; fixed-point numbers could not hold larger ones."""

_SHAPES = (ValueError, TypeError, LookupError, AttributeError)


class Area(NamedTuple):
    """One polygon.

    Parameters
    ----------
    rings
        Outline and holes, shape (point, 2) each.
    ignored
        Whether to cut it out.
    """

    rings: tuple[NDArray[np.float64], ...]
    ignored: bool


def read_geojson(path: Path, *, width: int, height: int) -> TissueMask:
    """Read the areas of a GeoJSON file: annotations of QuPath, or TIAToolbox's output for it.

    Parameters
    ----------
    path
        The file.
    width, height
        Level 0 of the slide, in pixels.

    Returns
    -------
    The mask: the areas of all classes except TIAToolbox's class 0, minus those of class `Ignore*`.

    Raises
    ------
    TissueMaskError
        If it is damaged, or holds no area.
    """
    if path.stat().st_size > MAX_BYTES:
        problem = f"{str(path)!r} has {path.stat().st_size} bytes, expected at most {MAX_BYTES}"
        raise TissueMaskError(problem, hint="simplify the outlines, or export them as a PNG")
    try:
        areas = list(_geojson_areas(json.loads(path.read_text(encoding="utf-8-sig"))))
    except (*_SHAPES, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TissueMaskError(f"{str(path)!r} is not GeoJSON, or is damaged: {reason}") from error
    return _drawn(path, areas, width=width, height=height)


def read_store(path: Path, *, width: int, height: int) -> TissueMask:
    """Read the areas of an annotation store of TIAToolbox.

    TIAToolbox's own class is not used because it writes to the file it opens, and needs SQLite
    extensions, which many builds of Python cannot load.

    Parameters
    ----------
    path
        The database.
    width, height
        Level 0 of the slide, in pixels.

    Returns
    -------
    The mask: all areas except those whose property `class` is 0.

    Raises
    ------
    TissueMaskError
        If it is damaged, in use, or holds no area.
    """
    journal = path.with_name(f"{path.name}-wal")
    if journal.exists() and journal.stat().st_size:
        problem = f"{str(path)!r} is in use: {journal.name!r} is next to it"
        raise TissueMaskError(problem, hint="close the program that is writing it")
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as store:
            areas = list(_store_areas(store))
    except (sqlite3.Error, zlib.error, *_SHAPES) as error:
        if isinstance(error, TissueMaskError):
            raise
        problem = f"{str(path)!r} is not an annotation store, or is damaged: {error}"
        raise TissueMaskError(problem) from error
    return _drawn(path, areas, width=width, height=height)


def _geojson_areas(found: Any) -> Iterator[Area]:
    """Yield the polygons of a collection, a list of features, a feature or a geometry."""
    if isinstance(found, dict) and found.get("type") == "FeatureCollection":
        found = found["features"]
    for feature in found if isinstance(found, list) else [found]:
        if feature["type"] != "Feature":
            yield from _areas(_shape(feature), ignored=False)
            continue
        told = feature.get("properties") or {}
        kind = feature.get("objectType", told.get("objectType", told.get("object_type")))
        if kind not in {None, "annotation"} or feature.get("class_value") == 0:
            continue  # cells, tiles, TIAToolbox's background
        if feature.get("geometry") is not None:
            name = _class_name(told.get("classification"))
            yield from _areas(_shape(feature["geometry"]), ignored=name.startswith(IGNORED))


def _class_name(told: Any) -> str:
    """Name of a class in QuPath."""
    if isinstance(told, dict):
        return str(told.get("name") or ": ".join(map(str, told.get("names") or ())))
    return str(told or "")


def _store_areas(store: sqlite3.Connection) -> Iterator[Area]:
    """Yield the polygons of an annotation store."""
    import shapely

    row = store.execute("SELECT value FROM metadata WHERE key = 'compression'").fetchone()
    packing = json.loads(row[0]) if row else None
    if packing not in {None, "zlib"}:
        raise TissueMaskError(
            f"an annotation store with the compression {packing!r} cannot be read"
        )
    query = "SELECT geometry, properties FROM annotations WHERE geometry IS NOT NULL ORDER BY id"
    for data, text in store.execute(query):
        told = json.loads(text) if text else {}
        if told.get("class") == 0:
            continue  # background of TIAToolbox's SemanticSegmentor
        unpacked = _unzipped(data) if packing else data
        try:
            geometry = shapely.from_wkb(unpacked)
        except shapely.errors.ShapelyError as error:
            raise ValueError(str(error)) from error
        yield from _areas(geometry, ignored=False)


def _unzipped(data: bytes) -> bytes:
    """Decompress a geometry; refuse one that is too large."""
    unpacking = zlib.decompressobj()
    unpacked = unpacking.decompress(data, MAX_GEOMETRY_BYTES)
    if unpacking.unconsumed_tail:
        raise TissueMaskError(f"a geometry has more than {MAX_GEOMETRY_BYTES} bytes")
    return unpacked


def _shape(geometry: Any) -> Any:
    """Build a geometry from its GeoJSON."""
    from shapely.errors import ShapelyError
    from shapely.geometry import shape

    try:
        return shape(geometry)
    except ShapelyError as error:
        raise ValueError(str(error)) from error


def _areas(geometry: Any, *, ignored: bool) -> Iterator[Area]:
    """Yield the polygons of a geometry; points and lines have none."""
    import shapely

    for part in shapely.get_parts(geometry):
        if part.geom_type in {"MultiPolygon", "GeometryCollection"}:
            yield from _areas(part, ignored=ignored)
        elif part.geom_type == "Polygon" and not part.is_empty:
            rings = tuple(
                shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)
            )
            if not all(np.isfinite(ring).all() for ring in rings):
                raise ValueError("an outline has coordinates that are not numbers")
            yield Area(rings, ignored)


def _drawn(path: Path, areas: Iterable[Area], *, width: int, height: int) -> TissueMask:
    """Draw areas as a mask, as fine as `MAX_PIXELS` allows; pixels touched by an outline count."""
    areas = list(areas)
    if not any(not area.ignored for area in areas):
        problem = f"{str(path)!r} contains no area"
        raise TissueMaskError(problem, hint="expected polygons around the tissue")
    factor = max(1.0, math.sqrt(width * height / MAX_PIXELS))
    columns, rows = max(1, int(width / factor)), max(1, int(height / factor))
    scale = np.array([columns / width, rows / height])
    kept, cut = np.zeros((rows, columns), bool), np.zeros((rows, columns), bool)
    for area in areas:
        _draw(cut if area.ignored else kept, area.rings, scale)
    mask = kept & ~cut
    about = {"share": float(mask.mean()), "n_areas": len(areas)}
    return TissueMask(mask, (float(scale[0]), float(scale[1])), about)


def _draw(
    mask: NDArray[np.bool_], rings: Iterable[NDArray[np.float64]], scale: NDArray[np.float64]
) -> None:
    """Draw one polygon into a mask, in a separate box because others may lie in its holes."""
    import cv2

    lines = [np.clip(ring * scale - 0.5, -FURTHEST, FURTHEST) for ring in rings]
    size = np.array(mask.shape[::-1])
    first = np.clip(np.floor(lines[0].min(axis=0)).astype(int), 0, size)
    last = np.clip(np.ceil(lines[0].max(axis=0)).astype(int) + 1, 0, size)
    box_width, box_height = (last - first).tolist()
    if not (box_width and box_height):
        return  # outside of the slide
    piece = np.zeros((box_height, box_width), np.uint8)
    fixed = [np.rint((line - first) * (1 << FRACTION_BITS)).astype(np.int32) for line in lines]
    cv2.fillPoly(piece, fixed, color=1, shift=FRACTION_BITS)
    (left, top), (right, bottom) = first.tolist(), last.tolist()
    mask[top:bottom, left:right] |= piece.astype(bool)
