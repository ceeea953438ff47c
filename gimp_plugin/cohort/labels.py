"""Classes of a cohort's cases."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

from gimp_plugin.errors import CohortError, did_you_mean, listed

if TYPE_CHECKING:
    import pandas as pd

    from gimp_plugin.cohort.expression import Cohort


def labels_of(cohort: Cohort, label_key: str, *, min_classes: int = 2) -> dict[str, str]:
    """Return the class of each case, as text.

    Text, whole numbers and truth values are classes; 0.0 counts as the whole number 0.

    Parameters
    ----------
    cohort
        The cohort.
    label_key
        Column of its `obs`.
    min_classes
        Least number of classes: 2 for training, 1 if labels are only compared.

    Returns
    -------
    Class by case id, in the order of the cohort.

    Raises
    ------
    CohortError
        If there is no such column, a case has no class, the column mixes kinds of values or holds
        measurements, or there are fewer classes than asked for.
    """
    return classes_of(cohort.obs, label_key, path=str(cohort.path), min_classes=min_classes)


def classes_of(
    obs: pd.DataFrame, label_key: str, *, path: str, min_classes: int = 2, of_obs: bool = True
) -> dict[str, str]:
    """Return the class of each row of a table, as text, by the rules for a cohort.

    Parameters
    ----------
    obs
        The table; its index is the case ids.
    label_key
        Column with the class.
    path
        Where the table comes from, for messages.
    min_classes
        Least number of classes.
    of_obs
        Whether it is the `obs` of a cohort, for messages.

    Returns
    -------
    Class by case id, in the order of the table.

    Raises
    ------
    CohortError
        As `labels_of`.
    """
    columns = [str(column) for column in obs.columns]
    if label_key not in columns:
        owner = f"obs of {path!r}" if of_obs else repr(path)
        problem = f"{owner} has no column {label_key!r}{did_you_mean(label_key, columns)}"
        raise CohortError(problem, hint=_where_classes_may_be(columns, of_obs=of_obs))
    where = f"{'obs[' if of_obs else 'column '}{label_key!r}{']' if of_obs else ''} of {path!r}"
    values = dict(zip(map(str, obs.index), obs[label_key].tolist(), strict=True))
    _check_complete(values, where)
    _check_one_kind(values, where)
    labels = {case_id: text_of(value) for case_id, value in values.items()}
    classes = sorted(set(labels.values()))
    if not classes and min_classes:
        problem = f"no case has a value in {where}, expected at least {min_classes} classes"
        raise CohortError(problem, hint="label some cases, or give another --label-key")
    if len(classes) < min_classes:
        problem = f"{where} has one class only, {listed(classes)}, expected at least {min_classes}"
        raise CohortError(problem, hint="give another --label-key, or a cohort with more classes")
    return labels


def known_classes(obs: pd.DataFrame, label_key: str) -> dict[str, str]:
    """Class of each case that has one; empty if there is no such column."""
    if label_key not in obs:
        return {}
    column = zip(map(str, obs.index), obs[label_key].tolist(), strict=True)
    return {case_id: text_of(label) for case_id, label in column if not is_missing(label)}


def labelled_rows(obs: pd.DataFrame, label_key: str) -> pd.DataFrame:
    """Rows of a table that have a class; all rows if there is no such column."""
    if label_key not in obs.columns:
        return obs
    return obs[[not is_missing(value) for value in obs[label_key].tolist()]]


def _check_complete(values: dict[str, Any], where: str) -> None:
    """Refuse cases without a class."""
    bare = [case_id for case_id, value in values.items() if is_missing(value)]
    if bare:
        problem = f"{len(bare)} of {len(values)} cases have no value in {where}: {listed(bare)}"
        hint = "label them, leave them out with gimp import-genes --obs-filter, or use "
        hint += "--unlabelled use or drop"
        raise CohortError(problem, hint=hint)


def _check_one_kind(values: dict[str, Any], where: str) -> None:
    """Refuse columns that mix kinds of values or hold measurements."""
    first: dict[str, str] = {}
    for case_id, value in values.items():
        first.setdefault(_kind(value), f"{value!r} of case {case_id!r}")
    if len(first) > 1:
        problem = f"{where} mixes {' and '.join(sorted(first))}: {', '.join(first.values())}"
        raise CohortError(problem, hint="store the classes as text")
    if "measurements" in first:
        problem = f"{where} holds measurements, expected classes: {first['measurements']}"
        raise CohortError(problem, hint="give another --label-key")


def _kind(value: Any) -> str:
    """Name the kind of a value."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "truth values"
    if isinstance(value, numbers.Real):
        return "whole numbers" if float(value).is_integer() else "measurements"
    return type(value).__name__


def text_of(value: Any) -> str:
    """Convert a class to text without surrounding space: `LUAD` and `LUAD ` are one class."""
    return str(int(value)) if _kind(value) == "whole numbers" else str(value).strip()


def is_missing(value: Any) -> bool:
    """Whether a cell of a table is empty: None, NaN, NA or blank text."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return not value.strip() if isinstance(value, str) else bool(value != value)  # noqa: PLR0124  # NaN


def _where_classes_may_be(columns: list[str], *, of_obs: bool) -> str:
    """Name the columns, and say that a table can supply the classes of a cohort."""
    a_column = f"give --label-key, one of {listed(columns, limit=9)}" if columns else ""
    a_table = "give a table of the classes with --labels" if of_obs else ""
    return "; or ".join(each for each in (a_column, a_table) if each)
