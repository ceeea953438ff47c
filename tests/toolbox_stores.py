"""Annotation stores as TIAToolbox itself writes them."""

from __future__ import annotations

import gc
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from shapely.geometry.base import BaseGeometry


@contextmanager
def compiled() -> Iterator[None]:
    """Let TIAToolbox's store work on a Python whose sqlite3 cannot load extensions."""
    from tiatoolbox.annotation.storage import SQLiteStore

    def options() -> list[str]:
        with closing(sqlite3.connect(":memory:")) as connection:
            return [row[0] for row in connection.execute("PRAGMA compile_options")]

    with mock.patch.object(SQLiteStore, "compile_options", staticmethod(options)):
        yield


@contextmanager
def left_open() -> Iterator[None]:
    """Let TIAToolbox's `dump` leave its database open, of which Python 3.13 warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed database", ResourceWarning)
        yield
        gc.collect()


def toolbox_store(
    path: Path,
    areas: Sequence[tuple[BaseGeometry, dict[str, Any]]],
    *,
    compression: str | None = "zlib",
) -> None:
    """Write areas with their properties."""
    from tiatoolbox.annotation.storage import Annotation, SQLiteStore

    with compiled():
        store = SQLiteStore(path, compression=compression)
        store.append_many([Annotation(area, properties) for area, properties in areas])
        store.commit()
        store.close()
