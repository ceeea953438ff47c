"""A table of slides and their cases, from a GDC manifest."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gimp_plugin.cohort.ids import tcga_aliquot, tcga_slide_kind
from gimp_plugin.cohort.importing.aliquots import SAMPLE_TYPES
from gimp_plugin.cohort.importing.files import check_text, first_lines
from gimp_plugin.cohort.importing.report import exclusions_path, write_exclusions
from gimp_plugin.cohort.importing.sheets import (
    SAMPLE_TYPE,
    Listed,
    is_manifest,
    is_sheet,
    read_sheets,
)
from gimp_plugin.cohort.importing.tables import read_rows
from gimp_plugin.errors import CohortError, MissingFileError, StaleOutputError
from gimp_plugin.keys import CASE_ID, SLIDE_ID
from gimp_plugin.storage.atomic import write_text
from gimp_plugin.storage.tables import Exclusion

KIND, TYPE = "slide_kind", "sample_type"
COLUMNS = (SLIDE_ID, CASE_ID, KIND, TYPE)
STEP = "import: slide manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidesResult:
    """Result of importing a manifest.

    Parameters
    ----------
    outcome
        `done` or `nothing to do`.
    n_slides, n_cases, n_bad
        Numbers of rows of the table, of their cases, and of manifest rows left out.
    kinds
        Number of slides of each kind.
    exclusions
        Table of the rows left out.
    """

    outcome: str
    n_slides: int
    n_cases: int
    n_bad: int
    kinds: tuple[tuple[str, int], ...]
    exclusions: Path

    def to_dict(self) -> dict[str, Any]:
        """Values for `--json`."""
        return {**asdict(self), "kinds": dict(self.kinds), "exclusions": str(self.exclusions)}


def import_slides(
    manifest: Path,
    sample_sheet: Path | None,
    *,
    output: Path,
    overwrite: bool = False,
    name_of: Callable[[str], str],
) -> SlidesResult:
    """Make a table of slides and cases.

    Parameters
    ----------
    manifest
        GDC manifest, columns id, filename, md5, size, state; or a sample sheet alone.
    sample_sheet
        GDC sample sheet or metadata, for cases that the file names do not tell.
    output
        The table, `slide_id,case_id,slide_kind,sample_type`.
    overwrite
        Whether to replace another table.
    name_of
        Returns the slide of a file name, empty if the file is not a slide.

    Returns
    -------
    The result, with the numbers of slides and cases.

    Raises
    ------
    StaleOutputError
        If `output` is not such a table, or is another one and `overwrite` is false.
    CohortError
        If the manifest is not one, or names no slide.
    """
    for path in (manifest, sample_sheet):
        if path is not None and path.exists() and output.exists() and path.samefile(output):
            raise CohortError(f"{str(path)!r} is both input and output", hint="give another -o")
    known = read_sheets([sample_sheet]) if sample_sheet is not None else {}
    names = _names(manifest, known)
    rows: dict[str, dict[str, str]] = {}
    bad: list[Exclusion] = []
    for name in names:
        row, problem = _row(name, name_of(name), known.get(name))
        if not problem and row[SLIDE_ID] in rows:
            problem = f"{name}: the slide is listed twice"
        if problem:
            bad.append(Exclusion(row[CASE_ID], row[SLIDE_ID], STEP, problem))
        else:
            rows[row[SLIDE_ID]] = row
    if not rows:
        problem = f"{str(manifest)!r} names no slide with a known case: {bad[0].reason}"
        raise CohortError(problem, hint="give --sample-sheet, or the manifest of slides")
    text = _text(rows)
    outcome = _write(output, text, overwrite=overwrite)
    if outcome == "done" or not exclusions_path(output).exists():
        write_exclusions(exclusions_path(output), bad)
    kinds = Counter(row[KIND] for row in rows.values())
    return SlidesResult(
        outcome=outcome,
        n_slides=len(rows),
        n_cases=len({row[CASE_ID] for row in rows.values()}),
        n_bad=len(bad),
        kinds=tuple(sorted(kinds.items())),
        exclusions=exclusions_path(output),
    )


def _names(manifest: Path, known: dict[str, Listed]) -> list[str]:
    """File names of a manifest."""
    if not manifest.exists():
        raise MissingFileError(f"no manifest {str(manifest)!r}", hint="check the path")
    header = first_lines(manifest, 1)[0]
    check_text(manifest, header)
    if is_sheet(header):
        known.update(read_sheets([manifest]))
        return list(read_sheets([manifest]))
    if not is_manifest(header):
        problem = f"{str(manifest)!r} is not a GDC manifest: its first line is {header[:60]!r}"
        raise CohortError(problem, hint="expected the columns id, filename, md5, size, state")
    return [row["filename"] for row in read_rows(manifest)]


def _row(name: str, slide_id: str, told: Listed | None) -> tuple[dict[str, str], str]:
    """Row of one slide, and what is wrong with it."""
    aliquot = tcga_aliquot(slide_id)
    case_id = aliquot.case_id if aliquot else told.case_id if told else ""
    if told and aliquot and told.case_id and told.case_id.upper() != aliquot.case_id:
        case_id = ""
        problem = f"{name}: the sample sheet says case {told.case_id!r}, the name another"
    elif not slide_id:
        problem = f"{name or 'a row without a file name'}: no slide"
    else:
        problem = "" if case_id else f"{name}: neither the name nor a sample sheet tells its case"
    code = aliquot.code if aliquot else None
    stated = told.facts.get(SAMPLE_TYPE, "") if told else ""
    row = {
        SLIDE_ID: slide_id,
        CASE_ID: case_id,
        KIND: tcga_slide_kind(slide_id) or "",
        TYPE: SAMPLE_TYPES.get(code or 0, "") or stated,
    }
    return row, problem


def _text(rows: dict[str, dict[str, str]]) -> str:
    """The table as CSV, sorted by slide."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[slide_id] for slide_id in sorted(rows))
    return text.getvalue()


def _write(output: Path, text: str, *, overwrite: bool) -> str:
    """Write the table unless it is there already; refuse to replace another one."""
    if output.exists():
        if output.read_bytes() == text.encode():
            return "nothing to do"
        if not output.read_bytes().startswith(f"{','.join(COLUMNS)}\n".encode()):
            problem = f"{str(output)!r} already exists and was not written by gimp import-slides"
            raise StaleOutputError(problem, hint="choose another --output")
        if not overwrite:
            problem = f"{str(output)!r} holds another table"
            raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")
    write_text(output, text)
    return "done"
