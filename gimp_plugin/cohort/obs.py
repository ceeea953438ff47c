"""Read only the table of cases of a cohort file, which is all that splits need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin.cohort.container import opened_cohort, read_element
from gimp_plugin.cohort.names import checked_names

if TYPE_CHECKING:
    import pandas as pd


def read_obs(path: Path) -> pd.DataFrame:
    """Read the table of the cases without reading genes or asking for a scale.

    Parameters
    ----------
    path
        An AnnData file, .h5ad. It is only read.

    Returns
    -------
    `obs`, its index the case ids.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SafetyError
        If it has links or external storage, or claims more than it holds.
    CohortError
        If it is damaged or not a cohort, or cases are missing, unnamed or repeated.
    """
    with opened_cohort(path) as file:
        obs = read_element(file, "obs")
    obs.index = list(checked_names(obs.index, table="obs", path=str(path)))
    return obs
