"""Attention as GeoJSON for QuPath."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gimp_plugin.explain.attention import SlideAttention, class_of
from gimp_plugin.storage.atomic import whole_file

NAMESPACE = uuid.UUID("6f7c8ad2-9a7b-5d0e-8a34-2d1b5c0f6e11")
"""Base of the ids of patches, so that the same attention gives the same bytes."""

OBJECT_TYPE = "tile"


def write_geojson(path: Path, found: SlideAttention) -> None:
    """Write the patches of a slide as QuPath objects, either completely or not at all.

    Each is a tile (QuPath's object for a patch: a detection, so that measurement maps show it). Its
    class is a fifth of the slide's patches by attention. Its measurements are `attention`, the
    other scores if there are any, `score`, and the probability of each class.

    Parameters
    ----------
    path
        Path of the file; QuPath opens files that end in `.geojson`.
    found
        The attention.
    """
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(_features(found)):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(feature, ensure_ascii=False, allow_nan=False))
        file.write("\n]}\n")


def _features(found: SlideAttention) -> Iterator[dict[str, Any]]:
    """One GeoJSON feature per patch."""
    probabilities = {f"probability {name}": p for name, p in found.probabilities.items()}
    rows = zip(found.boxes().tolist(), found.measured(), found.scores().tolist(), strict=True)
    for number, ((left, top, right, bottom), measured, score) in enumerate(rows):
        name, colour = class_of(score, found.kind)
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(NAMESPACE, f"{found.slide_id}/{number}/{left}/{top}")),
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "objectType": OBJECT_TYPE,
                "classification": {"name": name, "color": list(colour)},
                "measurements": {**measured, "score": score, **probabilities},
            },
        }
