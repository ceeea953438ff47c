"""Write splits as files: our own table, or the tables of CLAM or SurvPath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gimp_plugin.cohort.splitting.formats import COLUMNS, clam_tables, survpath_table
from gimp_plugin.cohort.splitting.splits import Splits, splits_text
from gimp_plugin.errors import StaleOutputError, listed
from gimp_plugin.keys import CASE_ID, PARTS, TRAIN, VAL
from gimp_plugin.storage.atomic import write_text

FORMATS = ("gimp", "clam", "survpath")
TABLES = "splits_*.csv"
LONGEST_HEADER = 4096


def split_files(
    folds: Sequence[Splits],
    output: Path,
    *,
    kind: str,
    slides: Mapping[str, Sequence[str]] | None = None,
) -> dict[Path, str]:
    """Make the text of the files that hold the folds.

    Parameters
    ----------
    folds
        The folds.
    output
        Path of our table, else folder of the tables, one or two per fold, numbered from 0.
    kind
        One of `FORMATS`.
    slides
        Slides by case; CLAM's tables name slides if they are known, else cases.

    Returns
    -------
    Text by path.
    """
    if kind == "gimp":
        return {output: splits_text(folds)}
    files: dict[Path, str] = {}
    for number, splits in enumerate(folds):
        parts = dict(sorted(splits.parts.items()))
        if kind == "survpath":
            files[output / f"splits_{number}.csv"] = survpath_table(parts)
            continue
        if slides is not None:
            parts = {one: part for case, part in parts.items() for one in slides.get(case, ())}
        for end, text in clam_tables(parts).items():
            files[output / f"splits_{number}{end}.csv"] = text
    return files


def write_split_files(files: Mapping[Path, str], *, overwrite: bool) -> bool:
    """Write files, unless they already have the same content.

    Parameters
    ----------
    files
        Text by path, all in one folder.
    overwrite
        Replace files with other content.

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    StaleOutputError
        If a file has other content and may not be replaced or is not a table of splits, or the
        folder has tables of other splits.
    """
    changed = [path for path, text in files.items() if not _says(path, text)]
    stale = [str(path) for path in changed if path.exists()]
    strange = [path for path in stale if not _is_table(Path(path))]
    if strange:
        problem = f"{listed(strange)} already exists and is not a table of splits"
        raise StaleOutputError(problem, hint="choose another --output")
    if stale and not overwrite:
        problem = f"{listed(stale)} already exists with other content"
        raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")
    first = next(iter(files))
    others = sorted({*first.parent.glob(TABLES)} - {*files}) if first.match(TABLES) else []
    if others:
        names = listed(path.name for path in others)
        problem = f"{str(first.parent)!r} holds tables of other splits: {names}"
        raise StaleOutputError(problem, hint="remove them, or choose another --output")
    for path in changed:
        write_text(path, files[path])
    return bool(changed)


def _says(path: Path, text: str) -> bool:
    """Whether a file exists and holds exactly this text."""
    return path.is_file() and path.read_bytes() == text.encode()


def _is_table(path: Path) -> bool:
    """Whether a file has the columns of a table of splits and no others."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.readline(LONGEST_HEADER).decode("utf-8-sig", "replace").rstrip("\r\n")
    first, *others = header.split(",")
    ours = {CASE_ID, "split"} <= {first, *others} <= set(COLUMNS)
    return ours or {TRAIN, VAL} <= set(others) <= set(PARTS)
