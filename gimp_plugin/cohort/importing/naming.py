"""Names of the cases, their clinical tables, and conditions on them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gimp_plugin.cohort.ids import same_case, tcga_aliquot
from gimp_plugin.cohort.importing.rules import ImportRules
from gimp_plugin.cohort.importing.source import NAMED_BY, Source
from gimp_plugin.cohort.importing.tables import read_rows
from gimp_plugin.cohort.label_table import one_cell
from gimp_plugin.cohort.labels import is_missing, text_of
from gimp_plugin.errors import CohortError, ConfigError, did_you_mean, listed

CASE_COLUMNS = (
    "case_submitter_id", "cases.submitter_id", "case_id", "Case ID", "submitter_id", "PATIENT_ID",
    "patient_id", "PATIENT", "bcr_patient_barcode", "submitter_id.samples", "_PATIENT", "SAMPLE_ID",
    "sample_id", "sampleID", "sample", "Patient ID",
)  # fmt: skip
"""Columns that name the case in the tables of the GDC, cBioPortal, Xena and ours.

In a clinical table of the GDC, `case_id` is a UUID; the barcode has another column."""

_CONDITION = re.compile(r"(?P<column>.+?)(?P<operator>!?=)(?P<value>.*)", re.DOTALL)


def case_names(source: Source, rules: ImportRules, *, clinical: Sequence[str]) -> list[str]:
    """Name the case of each sample.

    The name is the cell in the column that `--case-key` names, else the source's own case, else the
    first 12 characters of a TCGA barcode, else the name of the sample.

    Parameters
    ----------
    source
        The samples.
    rules
        `case_key` is used.
    clinical
        Columns of the clinical table; `--case-key` may name one of them instead.

    Returns
    -------
    One name per sample.

    Raises
    ------
    CohortError
        If there is no such column, or a sample has no case.
    """
    key = rules.case_key
    if key is not None and key in source.obs:
        cells = source.obs[key].tolist()
        names = ["" if is_missing(cell) else text_of(cell).strip() for cell in cells]
    elif key is None or key in {*clinical, source.notes.get(NAMED_BY)}:
        names = list(source.case_ids) or [_case_of(name) for name in source.sample_ids]
    else:
        corner = source.notes.get(NAMED_BY)
        columns = [*([corner] if corner else []), *map(str, source.obs.columns), *clinical]
        problem = f"{source.where} has no column {key!r}{did_you_mean(key, columns)}"
        raise CohortError(problem, hint=f"give --case-key, one of {listed(columns, limit=9)}")
    empty = [name for name, case in zip(source.sample_ids, names, strict=True) if not case]
    if empty:
        problem = f"{len(empty)} of {len(names)} samples of {source.where} name no case"
        raise CohortError(f"{problem}: {listed(empty)}", hint="give another --case-key")
    return names


def read_clinical(path: Path, rules: ImportRules) -> dict[str, dict[str, str]]:
    """Read a clinical table, merging the rows of a case.

    Parameters
    ----------
    path
        CSV or TSV; lines that begin with # are comments.
    rules
        `case_key` and `label_key` are used.

    Returns
    -------
    Cells of each case, empty if its rows differ; its slides are joined by `;`.

    Raises
    ------
    CohortError
        If no column names the case, the label's column is missing, or a case has two labels.
    """
    rows = read_rows(path)
    header = list(rows[0])
    where = repr(str(path))
    key = rules.case_key if rules.case_key in header else None
    key = key or next((name for name in CASE_COLUMNS if name in header), None)
    if key is None:
        problem = f"{where} has no column that names the case, only {listed(header, limit=9)}"
        raise CohortError(problem, hint="give --case-key")
    found: dict[str, dict[str, list[str]]] = {}
    for number, row in enumerate(rows, start=2):
        if not row[key]:
            raise CohortError(f"{where}, row {number}: {key!r} is empty, expected a case")
        case_id = _case_of(row[key])
        row[key] = case_id
        cells = found.setdefault(case_id, {name: [] for name in header})
        for name, cell in row.items():
            if cell and cell not in cells[name]:
                cells[name].append(cell)
        both = cells.get(rules.label_key or "", [])
        if len(both) > 1:
            problem = f"{where}, row {number}: case {case_id!r} has two values of"
            raise CohortError(
                f"{problem} {rules.label_key!r}, {both[0]!r} and {both[1]!r}", hint="keep one"
            )
    return {
        case_id: {name: one_cell(seen, name) or "" for name, seen in cells.items()}
        for case_id, cells in found.items()
    }


def joined(
    obs: pd.DataFrame, case_ids: Sequence[str], clinical: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
    """Add the columns of a clinical table; its cells replace existing ones.

    Returns
    -------
    A new table; cells of cases that the clinical table lacks are empty.

    Raises
    ------
    CohortError
        If the table knows none of the cases.
    """
    by_patient = {same_case(case_id): cells for case_id, cells in clinical.items()}
    rows = [clinical.get(one) or by_patient.get(same_case(one), {}) for one in case_ids]
    if not any(rows):
        problem = f"the table of --labels has none of the {len(case_ids)} cases"
        known = f"its own are {listed(list(clinical), limit=3)}"
        raise CohortError(
            f"{problem}, {listed(case_ids, limit=3)}", hint=f"give --case-key: {known}"
        )
    columns = list(next(iter(clinical.values())))
    added = pd.DataFrame(
        {name: [row.get(name, "") for row in rows] for name in columns},
        index=obs.index,
        dtype=object,
    )
    held = [name for name in columns if name in obs]
    added[held] = added[held].where(added[held] != "", obs[held])
    return pd.concat([obs.drop(columns=held), added], axis=1)


def fulfils(obs: pd.DataFrame, condition: str) -> list[bool]:
    """Whether each case fulfils `column=value` or `column!=value`; no value means an empty cell.

    Returns
    -------
    One truth value per case.

    Raises
    ------
    ConfigError
        If the condition is malformed.
    CohortError
        If there is no such column.
    """
    parsed = _CONDITION.fullmatch(condition)
    if parsed is None:
        problem = f"--obs-filter {condition!r} is not a condition"
        raise ConfigError(problem, hint="write column=value or column!=value")
    column = parsed["column"].strip()
    if column not in obs:
        columns = [str(name) for name in obs.columns]
        problem = f"--obs-filter {condition!r}: no column {column!r}{did_you_mean(column, columns)}"
        raise CohortError(problem, hint=f"the columns are {listed(columns, limit=9)}")
    cells = ["" if is_missing(cell) else text_of(cell) for cell in obs[column].tolist()]
    wanted = parsed["operator"] == "="
    return [(cell == parsed["value"].strip()) is wanted for cell in cells]


def typed(obs: pd.DataFrame, *, as_text: Sequence[str]) -> pd.DataFrame:
    """Convert columns of text that are all numbers; replace slashes in column names.

    Numbers with leading zeros or more digits than a float holds stay text, as do the columns in
    `as_text`.

    Returns
    -------
    A new table.
    """
    columns = {
        str(name).replace("/", "_"): _typed(obs[name].tolist(), text=name in as_text)
        for name in obs.columns
    }
    table = pd.DataFrame(columns)
    table.index = obs.index
    return table


def _typed(cells: list[Any], *, text: bool) -> pd.Series:
    """One column, as numbers if all cells are numbers, else as text."""
    known = [cell for cell in cells if not is_missing(cell)]
    if not text and known and all(_is_number(cell) for cell in known):
        numbers = [math.nan if is_missing(cell) else float(cell) for cell in cells]
        whole = len(known) == len(cells) and all(number.is_integer() for number in numbers)
        return pd.Series([int(number) for number in numbers] if whole else numbers)
    texts = ["" if is_missing(cell) else text_of(cell) for cell in cells]
    return pd.Series(texts, dtype=object)


def _is_number(cell: Any) -> bool:
    """Whether a cell is a finite number, not a code with leading zeros or many digits."""
    if isinstance(cell, bool):
        return False
    text = str(cell)
    if re.match(r"[+-]?(0\d|\d{16})", text) or "_" in text:
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _case_of(name: str) -> str:
    """Case of a TCGA barcode, or the name itself."""
    aliquot = tcga_aliquot(name)
    return aliquot.case_id if aliquot else name
