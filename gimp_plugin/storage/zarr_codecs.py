"""The codecs of zarr arrays, and the size that a compressed chunk states, without unpacking it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gimp_plugin.errors import SafetyError

SHARDS = "sharding_indexed"
CODECS = {"bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", SHARDS}
COMPRESSORS = {"blosc", "zstd", "gzip", "zlib", "lz4"}
FILTERS = {"shuffle", "crc32", "adler32", "fletcher32"}
HEAD = 32
UNKNOWN = -1
_HINT = "ask its author for a plain folder"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def packing_codec(found: Mapping[str, Any], *, where: str) -> str:
    """Return the codec that compresses the chunks of an array, refusing unknown codecs.

    Parameters
    ----------
    found
        Metadata of the array.
    where
        Its folder and name, for messages.

    Returns
    -------
    `sharding_indexed`, the name of a codec, or empty text.

    Raises
    ------
    SafetyError
        If there is a codec other than those known to run no code, or two compress in sequence.
    """
    if "codecs" in found:
        names = list(_named(found["codecs"], "name"))
        strange = [codec for codec in names if codec not in CODECS]
        strange += [str(each) for each in found.get("storage_transformers") or ()]
    else:
        names = list(_named([found.get("compressor")]))
        strange = [id_ for id_ in names if id_ not in COMPRESSORS]
        strange += [id_ for id_ in _named(found.get("filters")) if id_ not in FILTERS]
    if strange:
        problem = f"{where} uses the codec {strange[0]!r}; it was not read"
        raise SafetyError(problem, hint=_HINT)
    packing = [name for name in names if name in COMPRESSORS]
    if SHARDS in names:
        return SHARDS
    if len(packing) > 1:
        problem = f"{where} is compressed twice, by {packing}; it was not read"
        raise SafetyError(problem, hint=_HINT)
    return packing[0] if packing else ""


def _named(codecs: Any, key: str = "id") -> Iterator[str]:
    """Yield the names of codecs, including those inside a shard; `?` for anything else."""
    for codec in codecs if isinstance(codecs, list) else [codecs]:
        if codec is None:
            continue
        if not isinstance(codec, dict):
            yield "?"
            continue
        yield str(codec.get(key))
        inner = codec.get("configuration")
        for part in ("codecs", "index_codecs"):
            if isinstance(inner, dict) and part in inner:
                yield from _named(inner[part], key)


def unpacked_size(path: Path, compressor: str) -> int:
    """Return the unpacked size that a chunk states.

    Parameters
    ----------
    path
        File of one chunk.
    compressor
        Name of its codec; empty for none.

    Returns
    -------
    Bytes; -1 if the codec should state them and does not. For a codec that states no size, the size
    of the file: deflate unpacks a byte to at most 1,032.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if compressor == "zstd":
        return _zstd_size(head)
    if compressor == "blosc":
        return int.from_bytes(head[4:8], "little") if len(head) >= 16 else UNKNOWN
    if compressor == "lz4":
        return int.from_bytes(head[:4], "little") if len(head) >= 4 else UNKNOWN
    return path.stat().st_size


def _zstd_size(head: bytes) -> int:
    """Content size of a Zstandard frame (RFC 8878, section 3.1.1.1)."""
    if len(head) < 6 or head[:4] != _ZSTD_MAGIC:
        return UNKNOWN
    flags = head[4]
    is_single = bool(flags & 0x20)
    start = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    width = (int(is_single), 2, 4, 8)[flags >> 6]
    if not width:
        return UNKNOWN
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)
