"""Check that a TIFF file contains everything that its structure points to."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError

TILE_OR_STRIP_OFFSETS = (324, 273)
BYTE_COUNTS = {324: 325, 273: 279}
ITEM_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""Bytes of a number by TIFF's type code; offsets and counts have only these types."""

MAX_PAGES = 4096
MAX_ITEMS = 50_000_000


@dataclass(frozen=True, slots=True)
class _Layout:
    """Widths of the numbers of a TIFF (4-byte offsets) or BigTIFF (8-byte offsets)."""

    order: str
    big: bool

    @property
    def offset(self) -> str:
        """Format of an offset."""
        return self.order + ("Q" if self.big else "I")

    @property
    def n_tags(self) -> str:
        """Format of the number of tags of a page."""
        return self.order + ("Q" if self.big else "H")

    @property
    def tag(self) -> struct.Struct:
        """Format of a tag: code, type, number of items, and the items or where they are."""
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))


def is_tiff(head: bytes) -> bool:
    """Whether a file with these first bytes is a TIFF."""
    return head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def check_whole(path: Path) -> None:
    """Refuse a TIFF whose structure points past its end; other files pass.

    Parameters
    ----------
    path
        A regular file.

    Raises
    ------
    SlideError
        If the file is truncated, or its pages form a loop.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if not is_tiff(head):
            return
        try:
            end = max(_ends(file, head), default=0)
        except (struct.error, EOFError):
            end = size + 1
    if end > size:
        problem = (
            f"{str(path)!r} is truncated or incomplete: "
            f"it has {size} bytes and its structure points past the end"
        )
        raise SlideError(problem, hint="copy or download it again")


def _ends(file: BinaryIO, head: bytes) -> Iterator[int]:
    """Yield the offsets where each page's tags and pixels end."""
    layout = _Layout(order="<" if head[:1] == b"I" else ">", big=b"+" in head[2:4])
    start = 8 if layout.big else 4
    (page,) = struct.unpack_from(layout.offset, head, start)
    pages: set[int] = set()
    while page:
        if page in pages or len(pages) >= MAX_PAGES:
            raise SlideError(f"the pages of {file.name!r} form a loop", hint="the file is damaged")
        pages.add(page)
        file.seek(page)
        (n_tags,) = _read(file, layout.n_tags)
        tags = dict(_tags(file, layout, min(n_tags, 65_536)))
        yield from _pixel_ends(file, layout, tags)
        file.seek(page + struct.calcsize(layout.n_tags) + n_tags * layout.tag.size)
        (page,) = _read(file, layout.offset)


def _tags(
    file: BinaryIO, layout: _Layout, n_tags: int
) -> Iterator[tuple[int, tuple[int, int, bytes]]]:
    """Yield the tags of the page at the current position of the file."""
    for _ in range(n_tags):
        code, kind, count, value = layout.tag.unpack(_exactly(file, layout.tag.size))
        yield code, (kind, count, value)


def _pixel_ends(
    file: BinaryIO, layout: _Layout, tags: dict[int, tuple[int, int, bytes]]
) -> Iterator[int]:
    """Yield the offset where the last of a page's tiles or strips ends."""
    for code in TILE_OR_STRIP_OFFSETS:
        if code in tags and BYTE_COUNTS[code] in tags:
            offsets = _integers(file, layout, tags[code])
            counts = _integers(file, layout, tags[BYTE_COUNTS[code]])
            if offsets.size and offsets.size == counts.size:
                yield int((offsets + counts).max())


def _integers(file: BinaryIO, layout: _Layout, tag: tuple[int, int, bytes]) -> NDArray[np.int64]:
    """Values of a tag, stored in it or at the offset it points to."""
    kind, count, value = tag
    size = ITEM_SIZES.get(kind, 1)
    if size * count > len(value):
        if count > MAX_ITEMS:
            raise EOFError
        (where,) = struct.unpack(layout.offset, value)
        file.seek(where)
        value = _exactly(file, size * count)
    dtype = np.dtype(f"{layout.order}u{size}")
    return np.frombuffer(value[: size * count], dtype).astype(np.int64)


def _read(file: BinaryIO, form: str) -> tuple[int, ...]:
    """Unpack numbers from the current position of the file."""
    return struct.unpack(form, _exactly(file, struct.calcsize(form)))


def _exactly(file: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes; refuse a file that ends before."""
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data
