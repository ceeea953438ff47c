"""The files that an engine saves for each slide, and their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gimp_plugin.explain.attention import SlideAttention
from gimp_plugin.toolbox.geojson import write_geojson
from gimp_plugin.toolbox.stores import write_store

STORE = ".db"
SUFFIXES = {"annotationstore": STORE, "qupath": ".geojson"}
"""Types of output with one file per slide, and the ends of their names."""
OUTPUT = "output.zarr"


def names_of(kind: str, slide_ids: Sequence[str]) -> list[str]:
    """Names of the outputs: one per slide, or a single one.

    Parameters
    ----------
    kind
        Type of the output.
    slide_ids
        The slides.

    Returns
    -------
    Names within the output folder.
    """
    return [f"{name}{SUFFIXES[kind]}" for name in slide_ids] if kind in SUFFIXES else [OUTPUT]


def write_overlays(
    arrays: Mapping[str, Any],
    pairs: Sequence[tuple[str, str]],
    *,
    kind: str,
    folder: Path,
    classes: Sequence[str],
) -> Iterator[tuple[str, Path]]:
    """Write one file per slide.

    Parameters
    ----------
    arrays
        `attention`, `coordinates` and `probabilities` of each slide.
    pairs
        Ids of each slide and its case.
    kind
        Type of the output.
    folder
        Folder to write to.
    classes
        Class names.

    Yields
    ------
    Id and path of each slide.
    """
    write = write_store if kind == "annotationstore" else write_geojson
    for row, (slide_id, case_id) in enumerate(pairs):
        boxes, values = arrays["coordinates"][row], arrays["probabilities"][row].tolist()
        found = SlideAttention(
            slide_id=slide_id,
            case_id=case_id,
            attention=arrays["attention"][row],
            corners=boxes[:, :2].astype(np.int32),
            side=int(boxes[0, 2] - boxes[0, 0]),
            probabilities=dict(zip(classes, values, strict=True)),
        )
        (name,) = names_of(kind, [slide_id])
        write(folder / name, found)
        yield slide_id, folder / name
