"""Locks that are released when their holder ends."""

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

    The lock is the held `flock`, not the existence of the file: it is free again as soon as its
    holder ends, however it ends.

    Parameters
    ----------
    path
        The lock's file; it is created if it is missing, and stays empty.
    wait
        Wait until the lock is free, for short work.

    Raises
    ------
    LockedError
        If another process holds it.
    ResourceError
        If the file cannot be created.
    """
    descriptor = _alone(path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held_by_all(path: Path, purpose: str) -> Iterator[None]:
    """Share a lock with all processes of the same purpose while the block runs.

    Parameters
    ----------
    path
        The lock's file; it states the purpose, and the last holder removes it.
    purpose
        Text that the holders have in common.

    Raises
    ------
    LockedError
        If processes of another purpose hold it.
    ResourceError
        If the file cannot be created.
    """
    descriptor = _joined(path, purpose)
    try:
        yield
    finally:
        if _locks(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _alone(path: Path, how: int) -> int:
    """Open and lock a file exclusively; retry if its last holder removed it meanwhile."""
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
    """Open a lock's file and share its lock, once the file states the purpose."""
    while True:
        descriptor = _opened(path)
        if _locks(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):  # no other holder
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, purpose.encode(), 0)
        _locks(descriptor, fcntl.LOCK_SH)  # others may come and go between the two locks
        is_current = _is_current(path, descriptor)
        if is_current and os.pread(descriptor, len(purpose) + 1, 0) == purpose.encode():
            return descriptor
        is_taken = is_current and not _locks(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        if is_taken:
            problem = f"another process is writing to {str(path.parent)!r}, for another purpose"
            raise LockedError(problem, hint=_HINT)


def _opened(path: Path) -> int:
    """Open a lock's file, creating it if it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        problem = f"cannot write in {str(path.parent)!r}: {error.strerror}"
        raise ResourceError(problem, hint="choose another output") from error


def _is_current(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at its path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _locks(descriptor: int, how: int) -> bool:
    """Lock an open file; False if others hold it."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
