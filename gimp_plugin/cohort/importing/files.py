"""Files of unknown origin: find them in folders, open them as text, refuse wrong ones."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

from gimp_plugin.errors import CohortError, MissingFileError, listed

IGNORED_FOLDERS = frozenset({"logs"})
IGNORED_SUFFIXES = (".parcel", ".partial", ".md5", ".tmp")
IGNORED_NAMES = frozenset({"annotations.txt", "manifest.txt"})
"""Files that gdc-client writes beside each download."""

GZIP, ZIP, HDF5, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"PAR1"
_AGAIN = "download or copy it again"


def found_files(paths: Sequence[Path]) -> list[Path]:
    """List the files and the contents of the folders that the user gave, each file once.

    Hidden files, `logs/` and the auxiliary files of gdc-client are skipped.

    Returns
    -------
    The files, sorted within each folder.

    Raises
    ------
    MissingFileError
        If a path does not exist.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise MissingFileError(f"no file or folder {listed(missing)}", hint="check the path")
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _walk(path) if path.is_dir() else [path]:
            found.setdefault(file.absolute(), file)
    return list(found.values())


def start_of(path: Path) -> bytes:
    """Read the first bytes of a file as stored; refuse an empty file or anything else.

    Returns
    -------
    At most 16 bytes.

    Raises
    ------
    CohortError
        If the file is empty or cannot be read.
    """
    if not path.is_file():
        raise CohortError(f"{str(path)!r} is not a file", hint="give a file or a folder of files")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise CohortError(f"{str(path)!r} cannot be read: {error}") from error
    if not start:
        raise CohortError(f"{str(path)!r} is empty (0 bytes)", hint=_AGAIN)
    return start


def first_lines(path: Path, count: int = 3) -> list[str]:
    """Read the first lines of a text file, including comments, without empty lines.

    Returns
    -------
    At least one line and at most `count`.

    Raises
    ------
    CohortError
        If there are none.
    """
    with opened_text(path) as file:
        lines = list(islice((line.rstrip("\r\n") for line in file if line.strip()), count))
    if not lines:
        raise CohortError(f"{str(path)!r} has no line of text", hint=_AGAIN)
    return lines


@contextmanager
def opened_text(path: Path) -> Iterator[TextIO]:
    """Open a text file: plain, gzip, or the only member of a zip.

    Yields
    ------
    The lines as UTF-8.

    Raises
    ------
    CohortError
        If it is truncated, damaged or not text; also while reading within the context.
    """
    where, start = repr(str(path)), start_of(path)
    try:
        with _opened(path, start) as file:
            yield file
    except EOFError as error:
        problem = f"{where} is a truncated gzip file of {path.stat().st_size} bytes"
        raise CohortError(problem, hint=_AGAIN) from error
    except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        raise CohortError(f"{where} is damaged: {error}", hint=_AGAIN) from error
    except UnicodeDecodeError as error:
        problem = f"{where} is not UTF-8 text: byte {error.start} of a block is not a character"
        raise CohortError(problem, hint="save it as CSV or TSV in UTF-8") from error


def lines_of(path: Path, lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that are not blank; refuse NUL, which HDF5 cannot store.

    Yields
    ------
    The lines as they are.

    Raises
    ------
    CohortError
        If a line contains NUL.
    """
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            problem = (
                f"{str(path)!r}, line {number} has a NUL byte: it is damaged or not a text file"
            )
            raise CohortError(problem, hint=_AGAIN)
        if line.strip():
            yield line


def read_bytes(path: Path) -> bytes:
    """Read the whole content of a plain or gzip file.

    Returns
    -------
    The bytes, decompressed.

    Raises
    ------
    CohortError
        If it is empty, truncated or damaged.
    """
    start = start_of(path)
    content = path.read_bytes()
    if not start.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        problem = f"{str(path)!r} is a truncated or damaged gzip file of {len(content)} bytes"
        raise CohortError(f"{problem}: {error}", hint=_AGAIN) from error


def plain_name(path: Path) -> str:
    """File name without `.gz`, since lists and folders may have it or not."""
    return path.name.removesuffix(".gz")


def check_text(path: Path, line: str) -> None:
    """Refuse a web page or a JSON document in place of a table.

    Raises
    ------
    CohortError
        If the first line begins one.
    """
    low = line.lstrip("\ufeff \t").lower()
    if low.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        problem = f"{str(path)!r} is a web page, not a table: it begins with {line[:40]!r}"
        raise CohortError(problem, hint="a login or error page was saved instead of the file")
    if low.startswith(("{", "[")):
        problem = f"{str(path)!r} is a JSON document, not a table: it begins with {line[:40]!r}"
        raise CohortError(problem, hint="if it is GDC metadata, give it with --sample-sheet")


@contextmanager
def _opened(path: Path, start: bytes) -> Iterator[TextIO]:
    """Open a file according to its first bytes."""
    if start.startswith(GZIP):
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    elif start.startswith(ZIP):
        with zipfile.ZipFile(path) as archive, archive.open(_member(path, archive)) as binary:
            yield io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
    else:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    """Name of the only table in a zip."""
    names = [
        name
        for name in archive.namelist()
        if name.lower().endswith((".csv", ".tsv", ".txt")) and not name.startswith("__MACOSX/")
    ]
    if "xl/workbook.xml" in archive.namelist():
        raise CohortError(f"{str(path)!r} is an Excel workbook", hint="save the sheet as CSV")
    if len(names) != 1:
        held = listed(archive.namelist())
        problem = f"{str(path)!r} is a zip file with {len(names)} tables, expected one: {held}"
        raise CohortError(problem, hint="unpack it and give one table")
    return names[0]


def _walk(top: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders, sorted, without auxiliary files."""
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in IGNORED_FOLDERS
        )
        for name in sorted(names):
            low = name.lower()
            aside = low in IGNORED_NAMES or low.endswith(IGNORED_SUFFIXES)
            if not (aside or low.startswith(".")):
                yield Path(folder, name)
