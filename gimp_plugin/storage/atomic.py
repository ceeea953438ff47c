"""Writing a file whole or not at all."""

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
"""Age of an unfinished file of another machine that nobody can be writing any more."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder that becomes `path` at the end.

    The bytes reach the disk before the name does (fsync, rename, fsync of the folder). An error,
    Ctrl-C included, removes the temporary file and leaves what stood at `path` as it was; a kill
    leaves a hidden `.partial` file, which nothing reads and `clean_partials` removes.

    Parameters
    ----------
    path
        Where the file shall stand; its folder is made when it is missing.

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
    """Write a text file whole, as UTF-8 with bare line feeds."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, with sorted keys, so that equal values are equal bytes."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Give a value as `write_json` writes it."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hash of a value's canonical JSON.

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
    """Remove what killed processes left in a folder.

    What a living process of this machine writes stays, and so does what another machine wrote to
    within a day.

    Parameters
    ----------
    folder
        Where to look.
    name
        A file that nobody else can be writing, since its lock is held: all that was left of it
        goes. Empty for the whole folder.
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
    """Where a process number means this process: a hash of machine, boot and container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    parts += [boot.read_text(encoding="ascii")] if boot.exists() else []
    parts += [os.readlink(space)] if space.exists() else []  # noqa: PTH115  # it leads nowhere
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _start(name: str) -> str:
    """As much of a file's name as a temporary name has room for: 255 bytes in all."""
    return os.fsdecode(os.fsencode(name)[:200])


def _age_s(path: Path) -> float:
    """Seconds since a file was written to; 0 when it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _alive(pid: int) -> bool:
    """Whether a process of that number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
