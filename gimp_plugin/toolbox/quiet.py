"""Importing TIAToolbox without its side effects."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logging_kept() -> Iterator[None]:
    """Leave logging and warnings as the user has set them, whatever is imported meanwhile.

    `import tiatoolbox` sends every library's INFO lines to stdout where the root logger has no
    handler, and lets logging take over warnings; imports below it change the filters of warnings.

    Yields
    ------
    None.
    """
    root, guard = logging.getLogger(), logging.NullHandler()
    level, handlers = root.level, root.handlers[:]
    root.addHandler(guard)
    try:
        with warnings.catch_warnings():
            shown_by = warnings.showwarning
            yield
            if warnings.showwarning is not shown_by:
                logging.captureWarnings(capture=False)
    finally:
        root.setLevel(level)
        for handler in [one for one in root.handlers if one not in handlers]:
            root.removeHandler(handler)


@contextmanager
def filters_kept() -> Iterator[None]:
    """Take a filter away that TIAToolbox leaves on the root logger when an engine fails.

    Yields
    ------
    None.
    """
    root = logging.getLogger()
    before = root.filters[:]
    try:
        yield
    finally:
        root.filters[:] = before
