"""What a reader of one tool's files has to know: a layout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags.info import BagInfo


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one tool keeps a bag.

    Parameters
    ----------
    name
        Name of the layout.
    suffix
        End of its file names.
    opened
        Opens a file safely; what it gives goes to the other functions.
    claims
        Whether an opened file is of this layout, by its looks.
    look
        Its shape and what it says of itself; no feature is read.
    rows
        Features from a first row up to a last.
    corners
        Top-left corners of all patches, in the unit that `look` states.
    """

    name: str
    suffix: str
    opened: Callable[[Path], AbstractContextManager[Any]]
    claims: Callable[[Any], bool]
    look: Callable[[Path, Any], BagInfo]
    rows: Callable[[BagInfo, Any, int, int | None], NDArray[Any]]
    corners: Callable[[BagInfo, Any], NDArray[Any]]


def has_changed(info: BagInfo) -> BagError:
    """Error for a bag that is not what it was when it was looked at."""
    return BagError(
        f"{str(info.path)!r} has changed since it was looked at", hint="run the command again"
    )
