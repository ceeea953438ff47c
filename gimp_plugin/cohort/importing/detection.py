"""Detect the layout of each file, and open the user's files as one source."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from gimp_plugin.cohort.ids import gene_without_version
from gimp_plugin.cohort.importing import files, genes, htseq, matrix, porpoise, sheets, star
from gimp_plugin.cohort.importing.anndata_file import anndata_source
from gimp_plugin.cohort.importing.gdc import htseq_source, star_source
from gimp_plugin.cohort.importing.report import Count
from gimp_plugin.cohort.importing.rules import AUTO, PER_ALIQUOT, ImportRules
from gimp_plugin.cohort.importing.source import Reader, Source
from gimp_plugin.cohort.importing.tables import delimiter_of
from gimp_plugin.cohort.scales import guess_scale
from gimp_plugin.errors import CohortError, ConfigError, MissingFileError, listed

SHEET, OTHER = "sheet", "other"
CBIOPORTAL_FILES = ("data_mrna_seq_v2_rsem.txt", "data_mrna_seq_rsem.txt", "data_mrna_seq_fpkm.txt")
SOURCE_FILE = "source_file"
_LAYOUTS = "STAR counts, HTSeq, Xena, cBioPortal, a matrix, MCAT/PORPOISE, .h5ad"


def open_source(paths: Sequence[Path], rules: ImportRules) -> Source:
    """Detect the layout of the user's files, and open them.

    Parameters
    ----------
    paths
        Files and folders.
    rules
        `format` and `sample_sheets`, and the rules that the layout of the source uses.

    Returns
    -------
    One source of all files.

    Raises
    ------
    MissingFileError
        If a path does not exist.
    CohortError
        If a file has no known layout, layouts are mixed, or files do not have the same genes.
    ConfigError
        If sample sheets are given for a layout that does not use them.
    """
    found = files.found_files(paths)
    in_folders = [path for path in found if path not in set(paths)]
    kinds = {path: _kind_in_folder(path, rules) for path in in_folders}
    kinds |= {path: format_of(path, rules) for path in found if path not in kinds}
    given_sheets = [path for path, kind in kinds.items() if kind == SHEET]
    layouts = {kind for kind in kinds.values() if kind not in {SHEET, OTHER}}
    if not layouts:
        held = listed([path.name for path in found])
        problem = f"no expression in {listed(map(str, paths))}: {len(found)} files, {held}"
        raise MissingFileError(problem, hint=f"name the file itself; known formats: {_LAYOUTS}")
    if len(layouts) > 1:
        first = [next(str(path) for path in found if kinds[path] == one) for one in sorted(layouts)]
        problem = f"files of several layouts, {' and '.join(sorted(layouts))}: {listed(first)}"
        raise CohortError(problem, hint="give files of one layout, or name it with --format")
    layout = layouts.pop()
    chosen = [path for path, kind in kinds.items() if kind == layout]
    if layout in PER_ALIQUOT:
        make = star_source if layout == "star" else htseq_source
        all_sheets = list(dict.fromkeys([*rules.sample_sheets, *given_sheets]))
        where = repr(str(paths[0])) if len(paths) == 1 else f"{len(chosen)} files"
        return make(chosen, all_sheets, scale=rules.scale, where=where)
    unused = [*rules.sample_sheets, *(path for path in given_sheets if path in paths)]
    if unused:
        sheet, path = str(unused[0]), str(chosen[0])
        problem = f"{sheet!r} tells of files of one aliquot; {path!r} is {layout}"
        raise ConfigError(problem, hint=f"leave out {unused[0].name}")
    opened = [_open_one(layout, path, rules) for path in chosen]
    return opened[0] if len(opened) == 1 else _stacked(opened, rules)


def format_of(path: Path, rules: ImportRules) -> str:
    """Return the layout of a file that the user names.

    Returns
    -------
    One of `rules.FORMATS`, or `sheet`.

    Raises
    ------
    CohortError
        If it is empty, truncated, or not expression.
    """
    start = files.start_of(path)
    if rules.format != AUTO:
        return SHEET if _is_sheet(path) else rules.format
    if start.startswith(files.HDF5) or path.suffix.lower() == ".h5ad":
        return "h5ad"
    if path.suffix.lower() in {".xlsx", ".xls"}:
        raise CohortError(f"{str(path)!r} is an Excel workbook", hint="save the sheet as CSV")
    if start.startswith(files.PARQUET):
        return "matrix"
    return SHEET if sheets.is_metadata(path) else _text_format(path)


def _text_format(path: Path) -> str:
    """Layout of a text file by its first lines."""
    lines = files.first_lines(path)
    files.check_text(path, lines[0])
    if sheets.is_manifest(lines[0]):
        problem = f"{str(path)!r} is a GDC manifest: it lists files, but contains no expression"
        raise CohortError(problem, hint="download the files with gdc-client and give their folder")
    if star.is_star(lines):
        return "star"
    if htseq.is_htseq(lines):
        return "htseq"
    return SHEET if sheets.is_sheet(lines[0]) else _table_format(path, lines)


def _table_format(path: Path, lines: list[str]) -> str:
    """Layout of a table with a header."""
    line = next((line for line in lines if not line.startswith("#")), lines[-1])
    delimiter = delimiter_of(path, line)
    header = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
    if porpoise.is_porpoise(header):
        return "porpoise"
    if matrix.is_cbioportal(header):
        return "cbioportal"
    return "xena" if matrix.is_xena(header, delimiter) else "matrix"


def _kind_in_folder(path: Path, rules: ImportRules) -> str:
    """Layout of a file in a folder; files other than expression are skipped."""
    if rules.format in PER_ALIQUOT:
        name = files.plain_name(path).lower()
        is_value = (
            name.endswith(star.SUFFIX) if rules.format == "star" else htseq.scale_by_name(path)
        )
        return rules.format if is_value else SHEET if _is_sheet(path) else OTHER
    if files.plain_name(path).lower().endswith(star.SUFFIX):
        return "star"
    if htseq.scale_by_name(path):
        return "htseq"
    if path.name in CBIOPORTAL_FILES:
        return "cbioportal"
    return SHEET if _is_sheet(path) else OTHER


def _is_sheet(path: Path) -> bool:
    """Whether a file is a sample sheet or metadata."""
    if sheets.is_metadata(path):
        return True
    if path.suffix.lower() not in {".tsv", ".txt"} or not path.stat().st_size:
        return False
    files.start_of(path)  # refuses a file that cannot be read
    with path.open("rb") as file:
        return sheets.is_sheet(file.readline(1 << 16).decode("utf-8-sig", "replace").rstrip("\r\n"))


def _open_one(layout: str, path: Path, rules: ImportRules) -> Source:
    """Open a file that holds all cases."""
    if layout == "h5ad":
        return anndata_source(path, layer=rules.layer)
    if layout == "porpoise":
        return porpoise.porpoise_source(path)
    if layout == "xena":
        return matrix.xena_source(path, rules)
    if layout == "cbioportal":
        return matrix.cbioportal_source(path, rules)
    return matrix.matrix_source(path, rules)


def _stacked(sources: list[Source], rules: ImportRules) -> Source:
    """Stack sources of the same genes, the samples of one below those of another."""
    first, shared = sources[0], rules.shared_genes
    tables = [source.genes for source in sources]
    rows = genes.shared(tables) if shared else _same_genes(sources)
    bounds = np.cumsum([0, *(len(source.sample_ids) for source in sources)])
    scales = {source.scale for source in sources}
    if len(scales) > 1:
        named = ", ".join(f"{one.where}: {one.scale}" for one in sources)
        raise CohortError(f"the sources are on several scales: {named}", hint="give --scale")
    doubts = _several_scales(sources) if scales == {None} else ""
    if doubts and rules.scale is None:
        hint = "convert them to one scale first, or give --scale if they already share one"
        raise CohortError(doubts, hint=hint)
    obs = [
        one.obs.assign(
            **{SOURCE_FILE: pd.Series(one.files[0].name, index=one.obs.index, dtype=object)}
        )
        for one in sources
    ]
    n_genes = max(len(table) for table in tables)
    counts = (Count("gene of all sources", "genes", n_genes, len(rows[0])),) if shared else ()
    return replace(
        first,
        where=f"{len(sources)} sources ({first.where}, ...)",
        files=tuple(path for one in sources for path in one.files),
        sample_ids=tuple(name for one in sources for name in one.sample_ids),
        case_ids=tuple(name for one in sources for name in one.case_ids),
        genes=first.genes.iloc[rows[0]].reset_index(drop=True),
        read=_stacked_reader([one.read for one in sources], rows, bounds),
        obs=pd.concat(obs, ignore_index=True).astype(object),
        counts=(*(count for one in sources for count in one.counts), *counts),
        left_out=tuple(row for one in sources for row in one.left_out),
        warnings=(
            *(text for one in sources for text in one.warnings),
            *([doubts] if doubts else []),
        ),
    )


def _several_scales(sources: list[Source]) -> str:
    """Say which scale each source seems to have if they differ, else nothing."""
    looks = {}
    for one in sources:
        values = one.read(range(len(one.sample_ids)), np.arange(len(one.genes)))
        values[~np.isfinite(values)] = 0
        try:
            looks[one.where] = guess_scale(values, where=one.where)
        except CohortError:  # between logarithmic and linear: no guess
            continue
    if len(set(looks.values())) < 2:
        return ""
    told = ", ".join(f"{where} looks like {scale}" for where, scale in looks.items())
    return f"the sources seem to be on several scales: {told}"


def _same_genes(sources: list[Source]) -> list[np.ndarray]:
    """Gene numbers of each source in the order of the first's genes, which all must have."""
    names = [[gene_without_version(name) for name in one.genes[genes.GENE_ID]] for one in sources]
    for source, other in zip(sources[1:], names[1:], strict=True):
        if other == names[0]:
            continue
        lacking = [name for name in names[0] if name not in set(other)]
        extra = [name for name in other if name not in set(names[0])]
        if lacking or extra or len(set(other)) < len(other):
            problem = f"{source.where} has {len(other)} genes, {sources[0].where} {len(names[0])}"
            only = (
                f"{len(lacking)} are missing ({listed(lacking, limit=3)}), {len(extra)} are extra"
            )
            raise CohortError(
                f"{problem}: {only}", hint="give --shared-genes to keep the genes that all have"
            )
    places = [{name: row for row, name in enumerate(one)} for one in names]
    same = [one == names[0] for one in names]
    return [
        np.arange(len(names[0])) if equal else np.array([place[name] for name in names[0]])
        for place, equal in zip(places, same, strict=True)
    ]


def _stacked_reader(readers: list[Reader], rows: list[np.ndarray], bounds: np.ndarray) -> Reader:
    """Reader for the samples of several sources."""

    def read(samples: Sequence[int], columns: np.ndarray) -> np.ndarray:
        values = np.empty((len(samples), len(columns)), dtype=np.float32)
        source_of = np.searchsorted(bounds, np.asarray(samples), side="right") - 1
        for number, reader in enumerate(readers):
            places = np.flatnonzero(source_of == number)
            own = [int(samples[int(place)] - bounds[number]) for place in places]
            values[places] = reader(own, rows[number][columns])
        return values

    return read
