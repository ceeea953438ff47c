"""The cases to split, and their classes, from the user's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin.cohort.label_table import joined, read_label_table
from gimp_plugin.cohort.labels import classes_of, known_classes, labelled_rows
from gimp_plugin.cohort.obs import read_obs

if TYPE_CHECKING:
    import pandas as pd


def read_cases(
    adata: Path | None,
    labels: Path | None,
    *,
    label_key: str,
    case_key: str,
    unlabelled: str | None,
) -> tuple[pd.DataFrame | None, dict[str, str], list[str]]:
    """Read cases and classes from a cohort, a table of labels, or both, as training does.

    Parameters
    ----------
    adata, labels
        Cohort and table of labels; either may be missing.
    label_key, case_key
        Column with the class, and column of the table with the case.
    unlabelled
        With `use` or `drop`, a row may lack a class; None refuses such a row. A case of the cohort
        that the table does not name has no class in any case.

    Returns
    -------
    Table of the cases, None without either file; class by case id; the cases without a class.

    Raises
    ------
    CohortError
        If a file cannot be trusted, or there are fewer than two classes.
    PairingError
        If the two files have no case in common.
    """
    if labels is None:
        if adata is None:
            return None, {}, []
        obs = rows = read_obs(adata)
    else:
        table = read_label_table(labels, label_key=label_key, case_key=case_key)
        obs = rows = table if adata is None else read_obs(adata)
        if adata is not None:
            both = joined(obs, table, label_key=label_key, where=repr(str(labels)))
            rows, obs = (table if label_key in table else obs), both.loc[list(obs.index)]
    of_obs = labels is None or rows is not table
    rows = rows if unlabelled is None else labelled_rows(rows, label_key)
    classes_of(rows, label_key, path=str(adata if of_obs else labels), of_obs=of_obs)
    found = known_classes(obs, label_key)
    return obs, found, [case_id for case_id in map(str, obs.index) if case_id not in found]
