"""A slide in TIAToolbox's viewer, with the scores of its patches from an explanation."""

from __future__ import annotations

import bisect
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from gimp_plugin.errors import (
    CheckpointError,
    ConfigError,
    MissingFileError,
    SlideError,
    did_you_mean,
)
from gimp_plugin.slides.finding import slide_name
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.storage.runs import read_run
from gimp_plugin.studies.explanation.folder import explained_model
from gimp_plugin.studies.explanation.names import file_name
from gimp_plugin.studies.explanation.slides import FOLDER, SCORES
from gimp_plugin.toolbox.quiet import logging_kept
from gimp_plugin.toolbox.stores import attention_renderer


def viewer(run: Path, slide: Path, explanation: Path, *, score: str | None, folder: Path) -> Any:
    """Prepare the viewer of a slide.

    Parameters
    ----------
    run
        The run that was explained.
    slide
        The slide.
    explanation
        Output of `explain` for that run, with annotation stores.
    score
        `attention`, `attribution` or `occlusion`; None for the first that is available.
    folder
        An empty folder: the store is copied there, because TIAToolbox changes files it opens.

    Returns
    -------
    A `TileServer`, which colours patches by the rank of their score in the slide.

    Raises
    ------
    MissingFileError
        If the slide, the explanation or its store is missing.
    CheckpointError
        If the explanation is of another run, or the store is damaged.
    ConfigError
        If the store lacks the score.
    SlideError
        If TIAToolbox cannot open the slide.
    """
    if explained_model(explanation) != sha256_file(read_run(run).weights):
        problem = f"{str(explanation)!r} explains a run other than {str(run)!r}"
        raise CheckpointError(problem, hint="give the run that it was made from")
    if not slide.exists():
        raise MissingFileError(f"no slide {str(slide)!r}")
    name = slide_name(slide)
    store = explanation / FOLDER / f"{file_name(name)}.db"
    if not store.is_file():
        hint = "explain its case: gimp explain --format store"
        raise MissingFileError(f"{str(explanation)!r} has no store of slide {name!r}", hint=hint)
    rows = _properties(store)
    known = [kind for kind in SCORES if kind in rows[0]]
    score = score or known[0]
    if score not in known:
        problem = f"{str(store)!r} has no {score!r}{did_you_mean(score, known)}"
        raise ConfigError(problem, hint=f"it has {', '.join(known)}")
    shown = folder / "overlay.db"
    shutil.copyfile(store, shown)
    return _server(slide, shown, score, sorted(row[score] for row in rows if score in row))


def _server(slide: Path, store: Path, score: str, values: list[float]) -> Any:
    """Tile server with a slide and a store over it."""
    renderer = attention_renderer(score)
    renderer.score_fn = lambda value: bisect.bisect_right(values, value) / len(values)
    layers = {"slide": str(slide.absolute()), score: str(store.absolute())}
    with logging_kept():
        from tiatoolbox.visualization.tileserver import TileServer

        try:
            return TileServer(slide_name(slide), layers, renderer=renderer)
        except Exception as error:
            problem = f"TIAToolbox cannot open {str(slide)!r}: {error}"
            raise SlideError(problem, hint="check it with gimp info and gimp doctor") from error


def _properties(store: Path) -> list[dict[str, Any]]:
    """Properties of each patch of a store, which is not changed by reading."""
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            cells = opened.execute("SELECT properties FROM annotations").fetchall()
        rows = [json.loads(cell) for (cell,) in cells]
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise CheckpointError(f"{str(store)!r} is damaged: {error}") from error
    if not rows or not any(kind in rows[0] for kind in SCORES):
        raise CheckpointError(f"{str(store)!r} holds no scores of patches")
    return rows
