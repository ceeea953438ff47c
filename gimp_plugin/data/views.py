"""Resolution and size of patches: features of patches that differ in them must not be mixed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import listed
from gimp_plugin.storage.bags import BagInfo
from gimp_plugin.storage.runs import RunRecord

logger = logging.getLogger(__name__)


def view_of(made: Mapping[str, Any]) -> str:
    """Describe the resolution and size of the patches of an extraction.

    Parameters
    ----------
    made
        Configuration of the extraction.

    Returns
    -------
    The description; empty if the configuration has no such entries.

    Examples
    --------
    >>> view_of({"mpp": 0.5, "patch_size": 256}), view_of({})
    ('mpp=0.5, 256 px', '')
    """
    if not {"mpp", "patch_size"} <= made.keys():
        return ""
    view = f"mpp={made['mpp']}, {made['patch_size']} px"
    return f"{view} resized to {made['input_size']} px" if made.get("input_size") else view


def warn_of_mixed_views(bags: Iterable[BagInfo]) -> None:
    """Warn of bags whose patches differ in resolution or size.

    Parameters
    ----------
    bags
        Bags that are used together; those that do not record it are ignored.
    """
    views = _views(bags)
    if len(views) > 1:
        found = "; ".join(f"{view} ({listed(names, limit=3)})" for view, names in views.items())
        logger.warning("bags of patches that differ in resolution or size are mixed: %s", found)


def warn_of_other_views(record: RunRecord, bags: Iterable[BagInfo]) -> None:
    """Warn of bags whose patches differ in resolution or size from those that a run has seen.

    Parameters
    ----------
    record
        The run.
    bags
        Bags for the run to read; those that do not record it are ignored.
    """
    seen = view_of(record.extraction)
    for view, names in _views(bags).items() if seen else ():
        if view != seen:
            text = "run %r was trained on patches of %s, but %d bags are of %s: %s"
            logger.warning(text, str(record.path), seen, len(names), view, listed(names))


def _views(bags: Iterable[BagInfo]) -> dict[str, list[str]]:
    """Slides by the view of their patches, as far as the bags record it."""
    views: dict[str, list[str]] = {}
    for bag in bags:
        view = _told(bag.attributes.get(keys.EXTRACTION_CONFIG))
        if view:
            views.setdefault(view, []).append(bag.slide_id)
    return views


def _told(stored: object) -> str:
    """View of the patches of a bag; empty if it stores no valid configuration."""
    try:
        made = json.loads(str(stored))
    except ValueError:
        return ""
    return view_of(made) if isinstance(made, dict) else ""
