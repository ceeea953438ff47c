"""Importing TIAToolbox without its side effects."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logging_kept() -> Iterator[None]:
    """Keep logging and warnings as the user has set them, whatever is imported in the block.

    If the root logger has no handler, `import tiatoolbox` sends the INFO lines of all libraries to
    stdout; it also redirects warnings to logging. Modules that it imports change warning filters.

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
    """Remove a filter that TIAToolbox leaves on the root logger when an engine fails.

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
