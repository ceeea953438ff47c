"""Locks that die with their holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gimp_plugin.errors import LockedError


@contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock on a file while the block runs.

    The lock is the held `flock`, never the file's existence: it is free again as soon as its
    holder ends, however it ends.

    Parameters
    ----------
    path
        The lock's file; it is made when it is missing and stays empty.
    wait
        Wait until it is free, for work that takes moments.

    Raises
    ------
    LockedError
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            problem = f"another process is writing to {str(path.parent)!r}"
            raise LockedError(
                problem, hint="wait for it to end, or choose another output"
            ) from error
        yield
    finally:
        os.close(descriptor)
