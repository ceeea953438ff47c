"""Write a file completely or not at all."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
ABANDONED_S = 86_400.0
"""Age at which an unfinished file of another machine counts as abandoned."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that is renamed to `path` at the end.

    The bytes reach the disk before the name does (fsync, rename, fsync of the folder). An error,
    including Ctrl-C, removes the temporary file and leaves an existing file at `path` unchanged. A
    kill leaves a hidden `.partial` file, which nothing reads and `clean_partials` removes.

    Parameters
    ----------
    path
        Path of the file; its folder is created if it is missing.

    Yields
    ------
    The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{_start(path.name)}.{_here()}-{os.getpid()}{PARTIAL}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8 with bare line feeds."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, with sorted keys, so that equal values give equal bytes."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return the text that `write_json` writes for a value."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def sha256_file(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hash a value's canonical JSON.

    Returns
    -------
    64 hexadecimal digits.

    Examples
    --------
    >>> sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def clean_partials(folder: Path, name: str = "") -> None:
    """Remove partial files that killed processes left in a folder.

    Files of a running process on this machine are kept, as are files that another machine has
    written to within a day.

    Parameters
    ----------
    folder
        The folder.
    name
        A file whose lock is held, so that no other process can be writing it: all its partial files
        are removed. Empty for the whole folder.
    """
    if name:
        for path in folder.glob(f".{glob.escape(_start(name))}.*{PARTIAL}"):
            path.unlink(missing_ok=True)
        return
    for path in folder.glob(f".*{PARTIAL}"):
        host, _, pid = path.name.removesuffix(PARTIAL).rpartition(".")[2].rpartition("-")
        if _here() == host:
            living = pid.isdigit() and _alive(int(pid))
        else:
            living = _age_s(path) < ABANDONED_S
        if not living:
            path.unlink(missing_ok=True)


@functools.cache
def _here() -> str:
    """Scope in which a process number is unique: a hash of machine, boot and container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    parts += [boot.read_text(encoding="ascii")] if boot.exists() else []
    parts += [os.readlink(space)] if space.exists() else []  # noqa: PTH115  # a dangling link
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _start(name: str) -> str:
    """Start of a file's name, so that the temporary name stays within 255 bytes."""
    return os.fsdecode(os.fsencode(name)[:200])


def _age_s(path: Path) -> float:
    """Seconds since a file was last written; 0 if it no longer exists."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _alive(pid: int) -> bool:
    """Whether a process with this number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
