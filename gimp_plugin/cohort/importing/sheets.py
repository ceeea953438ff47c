"""The sample of each file, from sample sheets and metadata of the GDC."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gimp_plugin.cohort.ids import tcga_case
from gimp_plugin.cohort.importing.files import first_lines, opened_text
from gimp_plugin.cohort.importing.tables import read_rows
from gimp_plugin.errors import CohortError, MissingFileError, listed

FILE_NAME, CASE, SAMPLE, PROJECT = "File Name", "Case ID", "Sample ID", "Project ID"
SAMPLE_TYPE, PRESERVATION = "Sample Type", "Preservation Method"
TISSUE, DESCRIPTOR = "Tissue Type", "Tumor Descriptor"
MANIFEST_COLUMNS = {"id", "filename", "md5"}
HINT = (
    "download the sample sheet of the files from the GDC portal (Cart, Sample Sheet) and give it "
    "with --sample-sheet"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a sheet says of one file."""

    sample_id: str
    case_id: str
    facts: Mapping[str, str] = field(default_factory=dict)


def is_sheet(line: str) -> bool:
    """Whether a line is the header of a GDC sample sheet."""
    return {FILE_NAME, SAMPLE} <= set(line.split("\t"))


def is_manifest(line: str) -> bool:
    """Whether a line is the header of a GDC manifest."""
    return set(line.split("\t")) >= MANIFEST_COLUMNS


def is_metadata(path: Path) -> bool:
    """Whether a file is named like metadata of the GDC."""
    return path.name.lower().startswith("metadata") and path.suffix.lower() == ".json"


def read_sheets(paths: Sequence[Path]) -> dict[str, Listed]:
    """Read what sample sheets and metadata say of each file, by file name without `.gz`.

    If several describe a file, their facts are merged and the longest barcode, that of the
    metadata, counts.

    Parameters
    ----------
    paths
        Sample sheets (.tsv) and metadata (.json).

    Returns
    -------
    What is known of each file; empty without sheets.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CohortError
        If a file is neither, or a sheet gives one file to two samples.
    """
    known: dict[str, Listed] = {}
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"no sample sheet {str(path)!r}", hint="check the path")
        read = _read_metadata if path.suffix.lower() == ".json" else _read_sheet
        for name, one in read(path).items():
            known[name] = _merged(known[name], one) if name in known else one
    return known


def _read_sheet(path: Path) -> dict[str, Listed]:
    """Rows of a sample sheet by file name."""
    where, header = repr(str(path)), first_lines(path, 1)[0]
    if is_manifest(header):
        problem = f"{where} is a GDC manifest: it names files, but no cases"
        raise CohortError(problem, hint=HINT)
    if not is_sheet(header):
        problem = f"{where} is not a GDC sample sheet: its first line is {header[:60]!r}"
        raise CohortError(problem, hint=f"expected the columns {FILE_NAME}, {CASE}, {SAMPLE}")
    found: dict[str, Listed] = {}
    for number, row in enumerate(read_rows(path), start=2):
        name = row[FILE_NAME].removesuffix(".gz")
        sample_id, case_id = (_single(row.get(column, "")) for column in (SAMPLE, CASE))
        if not (name and sample_id):
            empty = SAMPLE if name else FILE_NAME
            raise CohortError(f"{where}, row {number}: {empty!r} is empty")
        one = Listed(sample_id=sample_id, case_id=case_id, facts=row)
        if tcga_case(sample_id) not in {None, case_id.upper()} and case_id:
            both = f"case {case_id!r} and sample {sample_id!r} belong to two patients"
            raise CohortError(f"{where}, row {number}: {both}")
        if found.setdefault(name, one).sample_id != sample_id:
            both = f"{found[name].sample_id!r} and {sample_id!r}"
            raise CohortError(f"{where}, row {number}: {name!r} is given to two samples, {both}")
        if found[name].case_id != case_id:
            both = f"{found[name].case_id!r} and {case_id!r}"
            raise CohortError(f"{where}, row {number}: {name!r} is given to two cases, {both}")
    return found


def _single(cell: str) -> str:
    """Name in a cell; the first if there are several, as the GDC lists them for pairs."""
    return cell.partition(",")[0].strip()


def _read_metadata(path: Path) -> dict[str, Listed]:
    """Entries of a metadata file by file name."""
    try:
        with opened_text(path) as file:
            entries = json.load(file)
    except json.JSONDecodeError as error:
        raise CohortError(f"{str(path)!r} is not JSON: {error}", hint=HINT) from error
    if not (isinstance(entries, list) and all(isinstance(one, dict) for one in entries)):
        raise CohortError(
            f"{str(path)!r} is not GDC metadata: it is not a list of files", hint=HINT
        )
    found = {}
    for number, entry in enumerate(entries):
        name = str(entry.get("file_name", "")).removesuffix(".gz")
        barcode = _submitter(entry.get("associated_entities"), "entity_submitter_id")
        if not (name and barcode):
            lacking = "associated_entities.entity_submitter_id" if name else "file_name"
            raise CohortError(f"{str(path)!r}, entry {number}: no {lacking!r}", hint=HINT)
        case_id = _submitter(entry.get("cases"), "submitter_id") or tcga_case(barcode) or ""
        found[name] = Listed(sample_id=barcode, case_id=case_id, facts=_facts(entry))
    return found


def _submitter(entities: Any, key: str) -> str:
    """Name in the first entry, or empty text."""
    return str(_first(entities).get(key) or "")


def _first(entries: Any) -> dict[str, Any]:
    """First entry, or an empty one."""
    first = entries[0] if isinstance(entries, list) and entries else {}
    return first if isinstance(first, dict) else {}


def _facts(entry: Mapping[str, Any]) -> dict[str, str]:
    """Facts in an entry under the names of a sample sheet, if the API was asked for them."""
    case = _first(entry.get("cases"))
    sample, project = _first(case.get("samples")), case.get("project")
    ffpe = "FFPE" if sample.get("is_ffpe") is True else sample.get("preservation_method")
    if not ffpe and sample.get("is_ffpe") is False:
        ffpe = "not in formalin"
    facts = {
        "File Name": entry.get("file_name"),
        "File ID": entry.get("file_id"),
        PROJECT: project.get("project_id") if isinstance(project, dict) else None,
        SAMPLE_TYPE: sample.get("sample_type"),
        PRESERVATION: ffpe,
    }
    return {name: str(value) for name, value in facts.items() if value}


def _merged(one: Listed, other: Listed) -> Listed:
    """Merge two descriptions of a file."""
    if not (one.sample_id.startswith(other.sample_id) or other.sample_id.startswith(one.sample_id)):
        both = listed([one.sample_id, other.sample_id])
        raise CohortError(f"two sample sheets assign one file to different samples: {both}")
    return Listed(
        sample_id=max(one.sample_id, other.sample_id, key=len),
        case_id=one.case_id or other.case_id,
        facts={**other.facts, **{key: cell for key, cell in one.facts.items() if cell}},
    )


def columns_of(facts: Iterable[Mapping[str, str]]) -> list[str]:
    """All columns of the facts, in order of first appearance."""
    return list(dict.fromkeys(column for one in facts for column in one))
