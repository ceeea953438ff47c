"""Divisions of the cases by the columns of the cohort's own table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit.subject import Subject

SMALLEST = 5
"""Least number of cases in a group to be examined."""
_MOST_NUMBERS = 20
_LEAST_CASES_A_GROUP = 2.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Grouping:
    """A division of the cases.

    Parameters
    ----------
    columns
        Columns of `obs` that divide the cases in this way; messages name the first.
    names
        Names of the groups.
    member
        Group of each case, an index into `names`; cases without a value form the last group.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    member: NDArray[np.int64]
    sizes: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Count the cases of each group."""
        sizes = np.bincount(self.member, minlength=len(self.names))
        object.__setattr__(self, "sizes", sizes)

    @property
    def large(self) -> NDArray[np.bool_]:
        """Groups with enough cases to be examined."""
        return np.asarray(self.sizes >= SMALLEST)

    @property
    def title(self) -> str:
        """Column and number of its groups."""
        others = f" (the same groups as {', '.join(self.columns[1:])})" if self.columns[1:] else ""
        return f"{self.columns[0]}{others}"


def groupings_of(subject: Subject) -> list[Grouping]:
    """Find the divisions of a cohort's cases, the classes first.

    A column counts if it holds text, categories, truth values or at most 20 different whole
    numbers, if at least two of its groups have 5 cases, and if its groups have at least 2 cases on
    average. Columns that divide the cases in the same way are merged.

    Returns
    -------
    The divisions.
    """
    found: dict[bytes, Grouping] = {}
    columns = [str(name) for name in subject.obs.columns]
    for column in sorted(columns, key=lambda name: name != subject.label_key):
        grouping = _grouping(subject, column)
        if grouping is None:
            continue
        key = grouping.member.tobytes()
        known = found.get(key)
        names = (*known.columns, column) if known else (column,)
        found[key] = Grouping(columns=names, names=grouping.names, member=grouping.member)
    return list(found.values())


def grouping_of_texts(column: str, texts: NDArray[np.object_]) -> Grouping:
    """Division by a column of text; the groups are numbered in order of first appearance."""
    names = list(dict.fromkeys("(none)" if text is None else str(text) for text in texts))
    place = {name: index for index, name in enumerate(names)}
    member = [place["(none)" if text is None else str(text)] for text in texts]
    return Grouping(columns=(column,), names=tuple(names), member=np.array(member, dtype=np.int64))


def _grouping(subject: Subject, column: str) -> Grouping | None:
    """Division by one column, or None if the column does not count."""
    cells = subject.obs[column]
    kind = cells.dtype.kind
    if kind not in "OSUbiufT" and str(cells.dtype) not in {"category", "string", "str", "boolean"}:
        return None
    texts = subject.column(column)
    distinct = {text for text in texts if text is not None}
    numbers = kind in "iuf" and str(cells.dtype) != "category"
    if numbers and (len(distinct) > _MOST_NUMBERS or any("." in text for text in distinct)):
        return None
    if len(distinct) < 2 or len(texts) < _LEAST_CASES_A_GROUP * len(distinct):
        return None
    grouping = grouping_of_texts(column, texts)
    return grouping if int(grouping.large.sum()) >= 2 else None
