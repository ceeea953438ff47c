"""Make names and texts from files harmless: visible, not too long, no spreadsheet formula."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup, escape

from gimp_plugin.storage.tables import defused

MAX_NAME, MAX_TEXT = 64, 2000
"""Maximum lengths; a SHA-256 fits into a name."""


def visible(text: str) -> str:
    r"""Make control characters visible, including those that change the writing direction.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    The text, on one line.

    Examples
    --------
    >>> visible("a\u202eb\nc")
    'a<U+202E>b c'
    """
    spaced = " ".join(text.split())
    return "".join(one if one.isprintable() else f"<U+{ord(one):04X}>" for one in spaced)


def short(name: str, limit: int = MAX_NAME) -> str:
    """Shorten a name to fit a cell; a shortened name ends in a hash, so that it stays unique.

    Parameters
    ----------
    name
        The name.
    limit
        Maximum number of letters.

    Returns
    -------
    The name, with at most that many letters.

    Examples
    --------
    >>> short("TCGA-05-4244"), short("x" * 100, 12)
    ('TCGA-05-4244', 'xxxx…09ecb6')
    """
    shown = visible(name)
    if len(shown) <= limit:
        return shown
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{shown[: limit - len(digest) - 2]}…{digest}"


def as_name(name: str) -> Markup:
    """Give a name as HTML that keeps its own writing direction and is no formula."""
    return Markup("<bdi>{}</bdi>").format(short(defused(name)))


def as_text(text: str) -> Markup:
    """Give a text as HTML, with limited length of the text and of each word."""
    shown = " ".join(map(short, text.split()))
    return escape(shown if len(shown) <= MAX_TEXT else f"{shown[:MAX_TEXT]}…")


def without_folders(text: str, paths: Iterable[Path]) -> str:
    """Remove the folders from paths in a text, because folders may name a patient.

    Parameters
    ----------
    text
        The text.
    paths
        Files and folders that it may name.

    Returns
    -------
    The text.

    Examples
    --------
    >>> without_folders("no '../b/run', . and run", [Path("."), Path("../b/run")])
    "no 'run', . and run"
    """
    shown = {
        form: path.absolute().name for path in paths for form in (str(path.absolute()), str(path))
    }
    for form in sorted(shown, key=len, reverse=True):
        if os.sep in form:
            text = text.replace(form, shown[form])
    return text
