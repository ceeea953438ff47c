"""Names of files from ids of which anybody may have chosen the letters."""

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
    """Name that stays in its folder, is no hidden file or option, and is no markup.

    Parameters
    ----------
    name
        An id.

    Returns
    -------
    The id with strange letters as %XX; a long one is cut and ends with a hash.

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
    """Message with the names of files only: folders may bear the name of a patient.

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
