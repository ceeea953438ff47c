"""Add training cases without a class to the splits of those that have one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.cohort.splitting.splits import Splits
from gimp_plugin.keys import TEST, TRAIN, VAL


def with_unlabelled(
    splits: Splits, case_ids: Iterable[str], *, sites: Mapping[str, str] | None = None
) -> Splits:
    """Add cases without a class to train.

    A model must not be evaluated on a patient whose slides it has seen, with or without a class.
    Cases of a val or test patient are therefore left out and, if sites are kept whole, cases of
    their sites.

    Parameters
    ----------
    splits
        The part of each case that has a class.
    case_ids
        Cases without one.
    sites
        Site of all these cases, if no site may be in two parts.

    Returns
    -------
    The splits with the added cases.
    """
    apart = [case_id for part in (VAL, TEST) for case_id in splits.of(part)]
    patients = set(map(same_case, apart))
    taken = set() if sites is None else {sites[case_id] for case_id in apart}
    added = [
        case_id
        for case_id in case_ids
        if same_case(case_id) not in patients and (sites is None or sites[case_id] not in taken)
    ]
    return replace(splits, parts={**splits.parts, **dict.fromkeys(added, TRAIN)})
