"""The interface of a reader of one tool's files: a layout."""

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
    """How one tool stores a bag.

    Parameters
    ----------
    name
        Name of the layout.
    suffix
        Suffix of its files.
    opened
        Opens a file safely; its result is passed to the other functions.
    claims
        Returns whether an opened file appears to be of this layout.
    look
        Returns the description of the bag, without reading features.
    rows
        Returns rows `start` to `stop` of the features.
    corners
        Returns the top-left corners of all patches, in the unit that `look` states.
    direct
        Returns what `rows` would, faster, as finite float16 or float32; or None, and `rows` must
        be used: the file is not as this way needs it, damaged, or has a value that is not finite.
        Only our own layout has one.
    """

    name: str
    suffix: str
    opened: Callable[[Path], AbstractContextManager[Any]]
    claims: Callable[[Any], bool]
    look: Callable[[Path, Any], BagInfo]
    rows: Callable[[BagInfo, Any, int, int | None], NDArray[Any]]
    corners: Callable[[BagInfo, Any], NDArray[Any]]
    direct: Callable[[BagInfo, Any, int, int | None], NDArray[Any] | None] | None = None


def has_changed(info: BagInfo) -> BagError:
    """Make the error for a bag that has changed since it was described."""
    return BagError(
        f"{str(info.path)!r} has changed since it was first read", hint="run the command again"
    )
