"""File names from ids, which may contain any characters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

MAX_BYTES = 180
STRANGE = re.compile(r"[^\w .+@,()-]")
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def file_name(name: str) -> str:
    """Make a safe file name: within its folder, not hidden, not like an option, no markup.

    Parameters
    ----------
    name
        An id.

    Returns
    -------
    The id with unusual characters as %XX; a long one is cut and ends in a hash.

    Examples
    --------
    >>> file_name("TCGA-05-4244"), file_name("../a"), file_name("=x()")
    ('TCGA-05-4244', '%2E.%2Fa', '%3Dx()')
    """
    safe = STRANGE.sub(lambda found: quote(found[0], safe=""), name)
    if safe[:1] in {".", "-", " ", ""} or RESERVED.fullmatch(safe):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}" if safe else "%"
    if len(safe.encode()) <= MAX_BYTES:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe.encode()[:MAX_BYTES].decode(errors='ignore')}-{digest}"


def without_paths(text: str, paths: Sequence[Path]) -> str:
    """Replace paths in a message by file names, because folders may name a patient.

    Parameters
    ----------
    text
        The message.
    paths
        Files that it may name.

    Returns
    -------
    The message.
    """
    for path in paths:
        for shown in (str(path.absolute()), str(path)):
            text = text.replace(shown, path.name)
    return text
