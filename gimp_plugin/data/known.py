"""The cases, their expression and their classes, from the files that a user gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin import keys
from gimp_plugin.cohort.expression import Cohort, read_cohort
from gimp_plugin.cohort.label_table import joined, read_label_table
from gimp_plugin.cohort.labels import classes_of, known_classes, labelled_rows
from gimp_plugin.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from gimp_plugin.config import CohortSource


def known_cases(
    source: CohortSource, *, modalities: str, labelled: bool
) -> tuple[Cohort, pd.DataFrame, dict[str, str]]:
    """Read the cohort and the table of labels, one of which may be missing.

    Parameters
    ----------
    source
        Where they are.
    modalities
        Halves of the model.
    labelled
        Whether cases need a class; with `source.unlabelled`, cases without one are left to the
        caller.

    Returns
    -------
    The cohort, with 0 genes if there is none; the data about the cases, those of the cohort first;
    and the class of each case that has one, from the table if it has classes, else from the cohort.

    Raises
    ------
    ConfigError
        If genes or classes are needed and no file for them is given.
    CohortError
        If the cohort or the table is not valid.
    PairingError
        If the two have no case in common.
    """
    _check_given(source, modalities, labelled=labelled)
    cohort, table = _read(source)
    label_key = source.label_key or keys.LABEL
    obs = cohort.obs
    if table is not None and source.adata is not None:
        obs = joined(obs, table, label_key=label_key, where=repr(str(source.labels)))
    if labelled:
        if table is None or (label_key not in table and source.adata is not None):
            rows = cohort.obs if source.unlabelled is None else labelled_rows(cohort.obs, label_key)
            return cohort, obs, classes_of(rows, label_key, path=str(cohort.path))
        rows = table if source.unlabelled is None else labelled_rows(table, label_key)
        classes_of(rows, label_key, path=str(source.labels), of_obs=False)
    return cohort, obs, known_classes(obs, label_key)


def _check_given(source: CohortSource, modalities: str, *, labelled: bool) -> None:
    """Refuse to train without the files that are needed, before anything is read."""
    if labelled and source.adata is None and source.labels is None:
        hint = "give --adata, or --labels for a model of slides only"
        raise ConfigError("nothing says which cases there are and their classes", hint=hint)
    if source.adata is None and (modalities == keys.GENES or (labelled and "genes" in modalities)):
        hint = "give --adata, or --modalities slides for a model of slides only"
        raise ConfigError(f"the model reads {modalities}, but --adata is missing", hint=hint)


def _read(source: CohortSource) -> tuple[Cohort, pd.DataFrame | None]:
    """Read the cohort and the table of labels."""
    import pandas as pd

    table = None
    if source.labels is not None:
        label_key, case_key = source.label_key or keys.LABEL, source.case_key or keys.CASE_ID
        table = read_label_table(source.labels, label_key=label_key, case_key=case_key)
    if source.adata is not None:
        return read_cohort(source.adata, layer=source.layer, scale=source.scale), table
    if table is not None and source.labels is not None:
        return Cohort.without_genes(source.labels, table), table
    nobody = pd.DataFrame(index=pd.Index([], dtype=object))
    return Cohort.without_genes(Path("the slides"), nobody), None
