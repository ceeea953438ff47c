"""Tables of splits: ours, and those of CLAM, MCAT, PORPOISE, SurvPath and MMP.

Ours has the columns `case_id,split` and optionally `fold`. CLAM and its derivatives write one file
per fold, `splits_<k>.csv`, with the columns `train`, `val` and optionally `test`: each cell names a
slide or a case, or (`splits_<k>_bool.csv`) each row is one and its cells are True or False. MMP has
one folder per fold, `..._k=<k>/`, with `train.csv`, optionally `val.csv`, and `test.csv`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gimp_plugin.cohort.tables import read_table
from gimp_plugin.errors import SplitError, listed
from gimp_plugin.keys import CASE_ID, PARTS, SLIDE_ID, TRAIN, VAL
from gimp_plugin.storage.tables import csv_text

Pairs = list[tuple[str, str]]
"""Name of a case or a slide, and its part."""

COLUMNS = (CASE_ID, "fold", "split")
ONE_FOLD = "0"
TRUE, FALSE = "true", "false"

_CLAM = re.compile(r"^splits_(?P<fold>[^_]+)(?P<bool>_bool)?\.csv$")
_MMP = re.compile(r"k=(?P<fold>[^/]+)$")
_FLOAT = re.compile(r"\d+\.0")


def read_pairs(path: Path) -> dict[str, Pairs]:
    """Read the splits in a file or a folder of any known format.

    Parameters
    ----------
    path
        Our table; a `splits_<k>.csv` or a folder of them; or a folder with `train.csv`.

    Returns
    -------
    Names and their parts by fold, in the order of the tables.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SplitError
        If a table or folder has no known format, or a column or a value is missing.
    """
    if not path.is_dir():
        return _read_file(path)
    if (path / "train.csv").is_file():
        return {_fold_of(path): list(_mmp_pairs(path))}
    files = {found["fold"]: file for file, found in _clam_files(path, plain=False)}
    files |= {found["fold"]: file for file, found in _clam_files(path, plain=True)}
    if not files:
        hint = "expected splits_<k>.csv of CLAM or SurvPath, or train.csv and test.csv of MMP"
        raise SplitError(f"{str(path)!r} has no table of splits", hint=hint)
    return {fold: pairs for fold in sorted(files) for pairs in _read_file(files[fold]).values()}


def clam_tables(parts: Mapping[str, str]) -> dict[str, str]:
    """Make the text of CLAM's two tables of one fold, by the end of the file name.

    Parameters
    ----------
    parts
        Part by name; the names are those of slides if they are known.

    Returns
    -------
    The table of names, one column per part, and the table of True and False.
    """
    rows = [
        {"": name, **{each: each == part for each in PARTS}}
        for part in PARTS
        for name, own in parts.items()
        if own == part
    ]
    members = {part: [name for name, own in parts.items() if own == part] for part in PARTS}
    return {"": _columns(members), "_bool": csv_text(rows, columns=("", *PARTS))}


def survpath_table(parts: Mapping[str, str]) -> str:
    """Make the text of SurvPath's table of one fold.

    SurvPath has no part for choosing the epoch: it trains on `train` and reports on `val`. So its
    `train` gets our train and val, and its `val` gets our test.

    Parameters
    ----------
    parts
        Part by case.

    Returns
    -------
    The table.
    """
    fitted = [name for name, part in parts.items() if part in {TRAIN, VAL}]
    held_out = [name for name, part in parts.items() if part not in {TRAIN, VAL}]
    return _columns({TRAIN: fitted, VAL: held_out})


def _read_file(path: Path) -> dict[str, Pairs]:
    """Read one table, whose header tells the format."""
    if path.exists():
        rows = read_table(path, required=(), optional=COLUMNS, error=SplitError)
        header = list(rows[0])
        if {TRAIN, VAL} <= set(header) and "split" not in header:
            return {_fold_of(path): _clam_pairs(rows, header, path)}
    rows = read_table(path, required=(CASE_ID, "split"), optional=("fold",), error=SplitError)
    folds: dict[str, Pairs] = {}
    for row in rows:
        folds.setdefault(row.get("fold", ONE_FOLD), []).append((row[CASE_ID], row["split"]))
    return folds


def _clam_pairs(rows: Sequence[Mapping[str, str]], header: Sequence[str], path: Path) -> Pairs:
    """Names and parts of a table with one column per part."""
    parts = [part for part in PARTS if part in header]
    cells = {row[part].lower() for row in rows for part in parts}
    if not cells - {TRUE, FALSE, ""}:
        return [
            pair for line, row in enumerate(rows, 2) for pair in _flags(row, header, path, line)
        ]
    names = [(row[part], part) for part in parts for row in rows if row[part]]
    if all(_FLOAT.fullmatch(name) for name, _ in names):  # pandas, numbers beside empty cells
        names = [(name.removesuffix(".0"), part) for name, part in names]
    return names


def _flags(
    row: Mapping[str, str], header: Sequence[str], path: Path, line: int
) -> Iterator[tuple[str, str]]:
    """Yield the part of a row, if it has one; refuse a row in two parts."""
    parts = [part for part in PARTS if part in header and row[part].lower() == TRUE]
    where = f"{str(path)!r}, row {line}"
    if header[0] in PARTS or not row[header[0]]:
        raise SplitError(f"{where}: no name of a slide or a case before the column 'train'")
    if len(parts) > 1:
        problem = f"{where}: {row[header[0]]!r} is in two parts: {listed(parts)}"
        raise SplitError(problem, hint="expected True in one column")
    yield from ((row[header[0]], part) for part in parts)


def _mmp_pairs(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and parts of a folder with one table per part."""
    for part in PARTS:
        path = folder / f"{part}.csv"
        if path.is_file():
            rows = read_table(path, required=(), optional=(CASE_ID, SLIDE_ID), error=SplitError)
            key = CASE_ID if CASE_ID in rows[0] else SLIDE_ID
            yield from (
                (row[key], part) for row in read_table(path, required=(key,), error=SplitError)
            )


def _clam_files(folder: Path, *, plain: bool) -> Iterator[tuple[Path, re.Match[str]]]:
    """Yield the tables of a folder, found by name; CLAM's descriptors are skipped."""
    for path in sorted(folder.iterdir()):
        found = _CLAM.match(path.name)
        if found and (found["bool"] is None) is plain:
            yield path, found


def _fold_of(path: Path) -> str:
    """Name of the fold in a file or folder name, else that of an only fold."""
    found = _MMP.search(path.name) if path.is_dir() else _CLAM.match(path.name)
    return found["fold"] if found else ONE_FOLD


def _columns(members: Mapping[str, Sequence[str]]) -> str:
    """Text of a table with columns of unequal length and numbered rows, as pandas writes it."""
    rows = [
        {
            "": row,
            **{part: names[row] if row < len(names) else "" for part, names in members.items()},
        }
        for row in range(max(map(len, members.values())))
    ]
    return csv_text(rows, columns=("", *members))
