"""Cases that a study leaves out, with reasons."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gimp_plugin.config import CohortSource
from gimp_plugin.errors import counted, listed
from gimp_plugin.storage.tables import Exclusion

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

NO_LABEL = "no label: its case is not in the cohort"
NO_CLASS = "no class"
NOTHING = "nothing that the model reads"


def without_label(
    slides: Mapping[str, object],
    obs: pd.DataFrame,
    labels: Mapping[str, str],
    source: CohortSource,
) -> tuple[Exclusion, ...]:
    """List the cases that have no class.

    Parameters
    ----------
    slides
        Slides of each case that is used.
    obs
        Data about the cases.
    labels
        Class of each case that has one.
    source
        Where the cases come from.

    Returns
    -------
    One row per case.
    """
    bare = [case_id for case_id in slides if case_id not in labels]
    if bare:
        told = counted(len(bare), "case")
        logger.warning("%s left out, without a class: %s", told, listed(bare))
    known = set(map(str, obs.index)) if source.unlabelled else set()
    reason = NO_LABEL if source.labels is None else f"not in {str(source.labels)!r}"
    return tuple(
        Exclusion(case_id, "", "labels", NO_CLASS if case_id in known else reason)
        for case_id in bare
    )


def without_anything(
    obs: pd.DataFrame, slides: Mapping[str, object], known: Sequence[Exclusion]
) -> tuple[Exclusion, ...]:
    """List the cases that have nothing that the model reads.

    Parameters
    ----------
    obs
        Data about the cases.
    slides
        Slides of each case that is used.
    known
        What was left out already.

    Returns
    -------
    One row per case.
    """
    said = {one.case_id for one in known}.union(slides)
    bare = [case_id for case_id in map(str, obs.index) if case_id not in said]
    if bare:
        told = counted(len(bare), "case")
        logger.warning("%s left out, with %s: %s", told, NOTHING, listed(bare))
    return tuple(Exclusion(case_id, "", "pairing", NOTHING) for case_id in bare)
