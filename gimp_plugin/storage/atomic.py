"""Writing a file whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"


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
    start = os.fsdecode(os.fsencode(path.name)[:200])  # a file name has 255 bytes at most
    temporary = path.with_name(f".{start}.{os.getpid()}{PARTIAL}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, as UTF-8 with bare line feeds."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


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


def clean_partials(folder: Path) -> None:
    """Remove what killed processes left in a folder; those of living processes stay."""
    for path in folder.glob(f".*{PARTIAL}"):
        pid = path.name.removesuffix(PARTIAL).rpartition(".")[2]
        if not (pid.isdigit() and _alive(int(pid))):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    """Whether a process of that number exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
