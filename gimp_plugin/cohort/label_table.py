"""A table of cases in addition to, or instead of, a cohort's: classes, clinical data, slides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin.cohort.ids import same_case
from gimp_plugin.cohort.importing.tables import read_rows
from gimp_plugin.errors import CohortError, PairingError, did_you_mean, listed
from gimp_plugin.keys import CASE_ID, SLIDE_ID

if TYPE_CHECKING:
    import pandas as pd


def read_label_table(
    path: Path, *, label_key: str | None = None, case_key: str = CASE_ID
) -> pd.DataFrame:
    """Read a table of cases, merging the rows of a case.

    Parameters
    ----------
    path
        A CSV or TSV.
    label_key
        Column with the class, on which the rows of a case must agree.
    case_key
        Column with the case.

    Returns
    -------
    Table of text, indexed by case id in the order of the file, with None if a cell is empty or the
    rows of a case differ. The slides of a case are in `slide_id`, joined by `;`.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CohortError
        If it has no row, lacks the column of the cases or a case in it, or the rows of a patient
        do not agree on the class.
    """
    import pandas as pd

    rows = read_rows(path)
    if case_key not in rows[0]:
        problem = f"{str(path)!r} has no column {case_key!r}{did_you_mean(case_key, rows[0])}"
        raise CohortError(f"{problem}; it has {listed(rows[0])}", hint="give --case-key")
    cells: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(rows, start=2):
        case_id = row.pop(case_key)
        if not case_id:
            raise CohortError(f"{str(path)!r}, row {number}: {case_key} is empty")
        own = cells[case_id]  # a case without any value is still a case
        for column, cell in row.items():
            if cell:
                own[column].append(cell)
    if label_key is not None:
        _check_one_label(
            ((case_id, label) for case_id, own in cells.items() for label in own[label_key]),
            where=f"column {label_key!r} of {str(path)!r}",
        )
    columns = list(rows[0])
    return pd.DataFrame(
        {column: [one_cell(own[column], column) for own in cells.values()] for column in columns},
        index=list(cells),
        dtype=object,
    )


def joined(obs: pd.DataFrame, table: pd.DataFrame, *, label_key: str, where: str) -> pd.DataFrame:
    """Join a cohort's own table with another one, whose cells take precedence.

    Cases are the same if their names are equal, or if they name the same TCGA patient and the
    cohort has one row of that patient. If the table has the class, the cohort's own classes are
    ignored.

    Parameters
    ----------
    obs
        The cohort's table; may have no rows.
    table
        Result of `read_label_table`.
    label_key
        Column with the class.
    where
        Name of the table, for messages.

    Returns
    -------
    Rows of `obs`, then those of cases that only the table has.

    Raises
    ------
    PairingError
        If the two have no case in common.
    """
    import pandas as pd

    by_patient: dict[str, list[str]] = defaultdict(list)
    for case_id in obs.index:
        by_patient[same_case(case_id)].append(case_id)
    known = set(obs.index)
    names = [_spelled(name, known, by_patient.get(same_case(name), ())) for name in table.index]
    if len(obs) and not known.intersection(names):
        problem = f"no case of {where} is in the cohort: {listed(table.index, limit=3)}, the "
        problem += f"cohort has {listed(obs.index, limit=3)}"
        raise PairingError(problem, hint="give --case-key, the column that names the cases")
    table = table.set_axis(names, axis=0)
    own = obs.astype(object)
    if label_key in table:
        own = own.drop(columns=label_key, errors="ignore")
    order = [*obs.index, *(name for name in names if name not in known)]
    both = table.reindex(order).astype(object)
    for column in own:
        mine = own[column].reindex(order)
        both[column] = (
            mine if column not in both else both[column].where(both[column].notna(), mine)
        )
    return pd.DataFrame(both, index=order).where(lambda frame: frame.notna(), None)


def _spelled(name: str, known: set[str], rows: Sequence[str]) -> str:
    """Spelling of a case in the cohort, else its own."""
    return rows[0] if name not in known and len(rows) == 1 else name


def one_cell(cells: Sequence[str], column: str) -> str | None:
    """Merge the cells of a case: joined if slides, else None if they differ."""
    if column == SLIDE_ID:
        return ";".join(dict.fromkeys(cells)) or None
    return cells[0] if len(set(cells)) == 1 else None


def _check_one_label(pairs: Iterable[tuple[str, str]], *, where: str) -> None:
    """Refuse a patient with two classes."""
    first: dict[str, tuple[str, str]] = {}
    for case_id, label in pairs:
        other, found = first.setdefault(same_case(case_id), (case_id, label))
        if found != label:
            problem = f"{where}: {other!r} is {found!r}, {case_id!r} is {label!r}"
            raise CohortError(problem, hint="a patient has one class; correct the table")
