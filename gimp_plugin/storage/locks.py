"""Locks that die with their holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gimp_plugin.errors import LockedError, ResourceError

_HINT = "wait for it to end, or choose another output"


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
    ResourceError
        If it cannot be made.
    """
    descriptor = _alone(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held_by_all(path: Path, purpose: str) -> Iterator[None]:
    """Hold a lock together with all processes of the same purpose while the block runs.

    Parameters
    ----------
    path
        The lock's file; it says the purpose, and goes with the last holder.
    purpose
        What the holders have in common.

    Raises
    ------
    LockedError
        If processes of another purpose hold it.
    ResourceError
        If it cannot be made.
    """
    descriptor = _joined(path, purpose)
    try:
        yield
    finally:
        if _locks(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _alone(path: Path, how: int) -> int:
    """Open a lock's file and hold it alone; who held it before may have removed it meanwhile."""
    while True:
        descriptor = _opened(path)
        if not _locks(descriptor, how):
            os.close(descriptor)
            problem = f"another process is writing to {str(path.parent)!r}"
            raise LockedError(problem, hint=_HINT)
        if _is_current(path, descriptor):
            return descriptor
        os.close(descriptor)


def _joined(path: Path, purpose: str) -> int:
    """Open a lock's file and hold it shared, once it says the purpose."""
    while True:
        descriptor = _opened(path)
        if _locks(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):  # nobody else is here
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, purpose.encode(), 0)
        _locks(descriptor, fcntl.LOCK_SH)  # between the two locks others may come and go
        is_current = _is_current(path, descriptor)
        if is_current and os.pread(descriptor, len(purpose) + 1, 0) == purpose.encode():
            return descriptor
        is_taken = is_current and not _locks(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        if is_taken:
            problem = f"another process is writing to {str(path.parent)!r}, in another way"
            raise LockedError(problem, hint=_HINT)


def _opened(path: Path) -> int:
    """Open a lock's file, made where it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        problem = f"cannot write in {str(path.parent)!r}: {error.strerror}"
        raise ResourceError(problem, hint="choose another output") from error


def _is_current(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one of its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _locks(descriptor: int, how: int) -> bool:
    """Lock an open file; False when others hold it."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
