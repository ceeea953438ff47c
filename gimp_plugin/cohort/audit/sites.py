"""Check whether the hospital reveals the class."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit.association import FEWEST_CASES, of_category, table_of
from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.ids import tcga_case
from gimp_plugin.errors import CohortError, counted, did_you_mean, listed

CHECK = "site = label"
COLUMNS = ("tissue_source_site", "site")
_TSS = re.compile(r"TCGA-([A-Z0-9]{2})-", re.IGNORECASE)

WHY = (
    "a model that learns the hospital (stain, scanner, handling) learns the label with it, so that "
    "a good result may not come from the tumour"
)
REMEDY = "split by hospital (gimp split --by-site) and read other results as an upper bound"


def check_sites(subject: Subject, site_key: str | None = None) -> Finding:
    """Compare the hospitals of the classes.

    Parameters
    ----------
    subject
        The cohort.
    site_key
        Column of `obs` with the hospital, if the user names one.

    Returns
    -------
    The verdict.

    Raises
    ------
    CohortError
        If there is no such column.
    """
    labels, found = subject.labels, sites_of(subject, site_key)
    if labels is None:
        return skipped(CHECK, f"obs has no column {subject.label_key!r}")
    if found is None:
        return skipped(CHECK, f"no {' or '.join(COLUMNS)} in obs and no TCGA ids; give --site-key")
    sites, source = found
    seen = of_category(sites.tolist(), labels.tolist())
    table = table_of(sites.tolist(), labels.tolist())
    shared = [site for site, counts in table.items() if len(counts) > 1]
    n_classes = len({label for counts in table.values() for label in counts})
    text = f"{seen} of {source}, {counted(len(table), 'site')}"
    numbers = {
        "value": seen.value,
        "p_value": seen.p_value,
        "n": seen.n,
        "n_sites": len(table),
        "n_shared_sites": len(shared),
        "source": source,
    }
    if len(table) < 2 or n_classes < 2:
        return skipped(CHECK, f"{counted(len(table), 'site')} and {n_classes} classes by {source}")
    if not shared:
        text += "; no site has cases of two classes"
    else:
        text += f"; {len(shared)} of them with more than one class ({named(shared)})"
    if seen.n < FEWEST_CASES:
        return skipped(CHECK, f"only {seen.n} cases, fewer than {FEWEST_CASES}")
    if seen.strong:
        return finding(CHECK, text, why=WHY, remedy=REMEDY, **numbers)
    return ok(CHECK, text, **numbers)


def sites_of(
    subject: Subject, site_key: str | None = None
) -> tuple[NDArray[np.object_], str] | None:
    """Find the hospital of each case.

    Returns
    -------
    Site of each case, and its source: the given column, else `tissue_source_site` or `site`, else
    the second field of TCGA ids. None if there is no source.

    Raises
    ------
    CohortError
        If there is no such column.
    """
    columns = [str(name) for name in subject.obs.columns]
    if site_key is not None and site_key not in columns:
        problem = f"obs of {subject.name!r} has no column {site_key!r}"
        hint = f"--site-key is one of {listed(columns, limit=9)}"
        raise CohortError(problem + did_you_mean(site_key, columns), hint=hint)
    for column in (site_key,) if site_key else COLUMNS:
        if column in columns:
            return subject.column(column), f"obs[{column!r}]"
    cases = [tcga_case(case_id) for case_id in subject.case_ids]
    if not any(cases):
        return None
    codes = [case and _TSS.match(case) for case in cases]
    return np.array([code[1] if code else None for code in codes], dtype=object), "the TCGA ids"
