"""One slide under two names: its patches would count twice, or its patient be in two parts."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from gimp_plugin import keys
from gimp_plugin.data.cases import Case
from gimp_plugin.errors import counted, listed

logger = logging.getLogger(__name__)

SHOWN = 4
"""Maximum number of names of a slide in a message."""


def warn_of_twins(cases: Sequence[Case]) -> None:
    """Warn of slides with identical features, within a case or in different cases.

    Only our own bags are compared, by the hash that they store: no features are read.

    Parameters
    ----------
    cases
        Cases that are used together.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        for bag in case.bags:
            stored = bag.attributes.get(keys.FEATURES_SHA256)
            if stored:
                alike[str(stored)].append(f"{bag.slide_id} of case {case.case_id}")
    groups = [_one(names) for names in alike.values() if len(names) > 1]
    if groups:
        told = counted(len(groups), "slide appears", "slides appear")
        text = "%s under several names, all of which are used: %s"
        logger.warning(text, told, listed(groups, limit=3))


def _one(names: Sequence[str]) -> str:
    """Join the names of one slide, shortened if there are many."""
    shown = " = ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} = {len(names) - SHOWN} more"
