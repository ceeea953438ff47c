"""How large a compressed chunk says it is, read read from its first bytes without unpacking it."""

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
_HINT = "ask whoever made it for a plain folder"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def packing_codec(found: Mapping[str, Any], *, where: str) -> str:
    """Give the codec that packs the chunks of an array.

    Parameters
    ----------
    found
        Metadata of the array.
    where
        Its folder and name, for messages.

    Returns
    -------
    `sharding_indexed`, the name of a codec, or nothing.

    Raises
    ------
    SafetyError
        If there is a codec other than those known to run no code, or two pack one after the other.
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
        problem = f"{where} is packed twice, by {packing}; it was not read"
        raise SafetyError(problem, hint=_HINT)
    return packing[0] if packing else ""


def _named(codecs: Any, key: str = "id") -> Iterator[str]:
    """Names of codecs, those inside a shard included; what is no codec is `?`."""
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
    """Bytes that a chunk claims to unpack to, at most.

    Parameters
    ----------
    path
        File of one chunk.
    compressor
        Name of its codec; deflate states no size, but makes at most 1,032 bytes of one.

    Returns
    -------
    Bytes; -1 where the codec should state them and does not.
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
