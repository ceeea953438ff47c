"""Checks of a slide file before any decoder opens it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.companions import check_companions
from gimp_plugin.slides.finding import is_dicom_folder, slide_parts
from gimp_plugin.slides.tiff import is_tiff

TIFF_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide", ".qptiff")
N_SAMPLES = 64
SAMPLE_BYTES = 1 << 16
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: Path) -> None:
    """Refuse a path that cannot be a slide, without opening anything that could hang.

    Parameters
    ----------
    path
        A file, or a folder of DICOM files.

    Raises
    ------
    SlideError
        If it is not a regular file, empty, unreadable, of a different kind than its name says, or
        lacks a file that belongs to it.
    """
    if any(ord(letter) < 32 for letter in path.name):
        raise SlideError(f"{path.name!r} has a control character in its name", hint="rename it")
    if not path.name.isprintable() and any(0xDC80 <= ord(letter) <= 0xDCFF for letter in path.name):
        raise SlideError(f"{path.name!r} is not a UTF-8 name", hint="rename it")
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        if is_dicom_folder(path):
            with _naming(path):
                check_companions(path, slide_parts(path))
            return
        raise SlideError(f"{str(path)!r} is a folder, not a slide", hint="a failed download?")
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "not a regular file")
        raise SlideError(f"{str(path)!r} is {kind}, not a slide", hint="remove it")
    if path.stat().st_size == 0:
        raise SlideError(f"{str(path)!r} is an empty file (0 bytes)", hint="copy it again")
    if not os.access(path, os.R_OK):
        raise SlideError(f"no permission to read {str(path)!r}", hint="check its permissions")
    with _naming(path):
        _check_head(path)
        check_companions(path, slide_parts(path))


def fingerprint(path: Path) -> str:
    """Hash a slide's content: size and 64 samples of 64 KiB of each of its files.

    Reading all of a slide of gigabytes would take longer than opening it, and a rewritten slide
    differs in its size or in more than one place.

    Parameters
    ----------
    path
        A slide file, or a folder of DICOM files.

    Returns
    -------
    Hexadecimal sha256.
    """
    digest = hashlib.sha256()
    with _naming(path):
        for part in slide_parts(path):
            name, size = part.name if path.is_dir() else "", part.stat().st_size
            digest.update(f"{name}:{size};".encode())
            for sample in _samples(part, size):
                digest.update(sample)
    return digest.hexdigest()


def state(path: Path) -> tuple[tuple[int, int], ...]:
    """Return size and modification time of a slide's files; if equal, they have not changed."""
    with _naming(path):
        return tuple((part.stat().st_size, part.stat().st_mtime_ns) for part in slide_parts(path))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn a system error about an unreadable file into an error about the slide."""
    try:
        yield
    except OSError as error:
        problem = f"{str(path)!r} cannot be read: {error.strerror or error}"
        raise SlideError(problem, hint="was it moved? otherwise check the disk") from error


def _samples(part: Path, size: int) -> Iterator[bytes]:
    """Yield evenly spaced pieces of a file, including the first and the last."""
    step = max(SAMPLE_BYTES, (size - SAMPLE_BYTES) // (N_SAMPLES - 1))
    with part.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            yield file.read(SAMPLE_BYTES)


def _mode(path: Path) -> int:
    """Mode of the target of a path; the error for a broken link names both ends."""
    try:
        return path.stat().st_mode
    except OSError as error:
        problem = f"{str(path)!r} cannot be reached: {error.strerror}"
        if path.is_symlink():
            problem = f"{str(path)!r} is a link to {str(path.readlink())!r}: {error.strerror}"
        raise SlideError(problem, hint="check the link or the file") from error


def _check_head(path: Path) -> None:
    """Compare the first bytes with the kind that the name promises."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip()[:64].lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        raise SlideError(f"{str(path)!r} is HTML: a failed download?", hint="download it again")
    if path.suffix.lower() in TIFF_SUFFIXES and not is_tiff(head):
        what = "text" if _is_text(head) else f"unknown content (it starts with {head[:4].hex()})"
        problem = f"{str(path)!r} is {what}, expected a TIFF because of its suffix {path.suffix}"
        raise SlideError(problem, hint="copy or download it again")


def _is_text(head: bytes) -> bool:
    """Whether bytes look like written text."""
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head) and head.isascii()
