"""Slides of any size in little space: the same few compressed tiles again and again."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from tests.slide_factory import GLASS, draw_tissue

TILE_PX = 240  # as Aperio's
BORDER = 2
N_KINDS = 24


def make_huge_slide(path: Path, *, side_tiles: int, mpp: float = 0.5) -> int:
    """Write a square slide of tissue with a border of glass, with a level reduced 16 times.

    Parameters
    ----------
    path
        Where.
    side_tiles
        Tiles of 240 px along a side.
    mpp
        What the slide says of its resolution.

    Returns
    -------
    Side in pixels.
    """
    picture = draw_tissue((TILE_PX * N_KINDS, TILE_PX), tissue=[(0, 0, TILE_PX * N_KINDS, TILE_PX)])
    kinds = [picture[:, TILE_PX * i : TILE_PX * (i + 1)] for i in range(N_KINDS)]
    kinds.append(np.full((TILE_PX, TILE_PX, 3), GLASS, np.uint8))
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, N_KINDS, (side_tiles, side_tiles))
    chosen[:BORDER] = chosen[-BORDER:] = N_KINDS
    chosen[:, :BORDER] = chosen[:, -BORDER:] = N_KINDS
    small = np.stack([cv2.resize(kind, (15, 15), interpolation=cv2.INTER_AREA) for kind in kinds])
    reduced = small[chosen].transpose(0, 2, 1, 3, 4).reshape(side_tiles * 15, side_tiles * 15, 3)
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        places = [_tile(file, kind) for kind in kinds]
        levels = [
            (side_tiles * TILE_PX, [places[kind] for kind in chosen.ravel()]),
            (side_tiles * 15, [_tile(file, tile) for tile in _tiles(reduced)]),
        ]
        link = 4
        for side, tiles in levels:
            link = _page(file, link, side, tiles, mpp=mpp)
    return side_tiles * TILE_PX


def _tiles(picture):
    """Cut a picture into tiles, the last ones filled up."""
    side = -(-len(picture) // TILE_PX) * TILE_PX
    whole = np.full((side, side, 3), GLASS, np.uint8)
    whole[: len(picture), : len(picture)] = picture
    for top in range(0, side, TILE_PX):
        for left in range(0, side, TILE_PX):
            yield whole[top : top + TILE_PX, left : left + TILE_PX]


def _tile(file, pixels):
    """Write a tile as JPEG; give its place and size."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)
    place = file.tell()
    file.write(data.tobytes())
    return place, len(data)


def _page(file, link, side, tiles, *, mpp):
    """Write a page's tags and point to it from `link`; give the place of its own link."""
    description = f"Aperio Image Library v11.2.1\n{side}x{side}|MPP = {mpp}\0".encode()
    places, sizes = (np.array(column, "<u4").tobytes() for column in zip(*tiles, strict=True))
    long, short, text = 4, 3, 2
    tags = {
        256: (long, 1, struct.pack("<I", side)),
        257: (long, 1, struct.pack("<I", side)),
        258: (short, 3, struct.pack("<3H", 8, 8, 8)),
        259: (short, 1, struct.pack("<HH", 7, 0)),  # JPEG
        262: (short, 1, struct.pack("<HH", 6, 0)),  # YCbCr
        270: (text, len(description), description),
        277: (short, 1, struct.pack("<HH", 3, 0)),
        322: (long, 1, struct.pack("<I", TILE_PX)),
        323: (long, 1, struct.pack("<I", TILE_PX)),
        324: (long, len(tiles), places),
        325: (long, len(tiles), sizes),
        530: (short, 2, struct.pack("<HH", 2, 2)),  # colour at half the resolution
    }
    entries = b""
    for code, (kind, count, content) in tags.items():
        value = content
        if len(value) > 4:
            file.write(b"\0" * (file.tell() % 2))
            start = struct.pack("<I", file.tell())
            file.write(value)
            value = start
        entries += struct.pack("<HHI", code, kind, count) + value.ljust(4, b"\0")
    file.write(b"\0" * (file.tell() % 2))
    page = file.tell()
    file.write(struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))
    end = file.tell()
    file.seek(link)
    file.write(struct.pack("<I", page))
    file.seek(end)
    return end - 4
