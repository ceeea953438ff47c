"""Attention as an annotation store, for `tiatoolbox visualize` and its tile server."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from gimp_plugin.explain.attention import SlideAttention, class_of
from gimp_plugin.storage.atomic import whole_file
from gimp_plugin.toolbox import contract
from gimp_plugin.toolbox.quiet import logging_kept

FAR = 1_000_000
"""Largest downsample at which patches are drawn; by default, TIAToolbox omits small ones."""


def write_store(path: Path, found: SlideAttention) -> None:
    """Write the patches of a slide as annotations, either completely or not at all.

    Each is a square at level 0 with the properties `type` (a fifth of the slide's patches by
    attention), `color`, `score` (rank of its attention, up to 1), `attention` (1 is an even share;
    may be negative), the other scores if there are any, `case_id`, `predicted`, and the probability
    of each class, `prob_<class>`.

    Parameters
    ----------
    path
        Path of the file; TIAToolbox opens files that end in `.db`.
    found
        The attention.

    Raises
    ------
    PluginError
        If TIAToolbox has changed something that we rely on.
    """
    contract.check("stores")
    let_sqlite_be()
    with logging_kept():
        from tiatoolbox.annotation.storage import SQLiteStore
    with whole_file(path) as temporary, closing(SQLiteStore(temporary)) as store:
        annotations = list(_annotations(found))
        store.append_many(annotations, [str(number) for number in range(len(annotations))])
        store.close()
        store.path = Path(":memory:")  # on deletion, it would open and close its file once more


def print_of_store(path: Path) -> str:
    """Hash of the annotations of a store, whose bytes change even when TIAToolbox only opens it.

    Parameters
    ----------
    path
        The store.

    Returns
    -------
    The hash; empty if the file is not a store.
    """
    digest = hashlib.sha256()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
            for row in store.execute("SELECT * FROM annotations ORDER BY id"):
                digest.update(repr(row).encode())
    except sqlite3.Error:
        return ""
    return digest.hexdigest()


def attention_renderer(
    score: str = "score", *, colour_map: str = "coolwarm", opacity: float = 0.5
) -> Any:
    """Renderer for TIAToolbox's tile server that shows patches at any magnification.

    Parameters
    ----------
    score
        Property that determines the colour, from 0 to 1.
    colour_map
        Colour map of matplotlib.
    opacity
        Opacity from 0 to 1; 1 hides the tissue.

    Returns
    -------
    An `AnnotationRenderer`.
    """
    contract.check("stores")
    let_sqlite_be()
    with logging_kept():
        from tiatoolbox.utils.visualization import AnnotationRenderer
    renderer = AnnotationRenderer(
        score_prop=score, mapper=colour_map, max_scale=FAR, edge_thickness=0
    )
    renderer.mapper = partial(renderer.mapper, alpha=opacity)
    return renderer


def let_sqlite_be() -> None:
    """Make annotation stores work if Python's sqlite3 cannot load extensions.

    TIAToolbox enables extensions only to ask SQLite how it was compiled, which needs none.
    """
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return
    with logging_kept():
        from tiatoolbox.annotation.storage import SQLiteStore
    SQLiteStore.compile_options = staticmethod(compile_options)


def compile_options() -> list[str]:
    """Options that SQLite was compiled with."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return [option for (option,) in connection.execute("PRAGMA compile_options")]


def _annotations(found: SlideAttention) -> Iterator[Any]:
    """One annotation per patch."""
    from shapely import box
    from tiatoolbox.annotation.storage import Annotation

    case = {"case_id": found.case_id, "predicted": found.predicted}
    probabilities = {f"prob_{name}": value for name, value in found.probabilities.items()}
    rows = zip(found.boxes().tolist(), found.measured(), found.scores().tolist(), strict=True)
    for edges, measured, score in rows:
        name, colour = class_of(score, found.kind)
        own = {"type": name, "color": [part / 255 for part in colour]}
        properties = {**own, "score": score, **measured, **case, **probabilities}
        yield Annotation(box(*edges), properties)
