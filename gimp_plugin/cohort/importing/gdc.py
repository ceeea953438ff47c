"""Files of the GDC, one per aliquot, paired with their sample sheet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from gimp_plugin.cohort.ids import tcga_case
from gimp_plugin.cohort.importing import htseq, sheets, star
from gimp_plugin.cohort.importing.files import plain_name
from gimp_plugin.cohort.importing.report import Count, left_out
from gimp_plugin.cohort.importing.sheets import Listed
from gimp_plugin.cohort.importing.source import Source
from gimp_plugin.errors import CohortError, listed
from gimp_plugin.storage.tables import Exclusion

DEFAULT_SCALE = "fpkm"
FILE = "file"
_BARCODE = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?:-[A-Z0-9]+)*", re.IGNORECASE)
_SHEET_RULE = "file named by the sample sheet"
_DISK_RULE = "file of the sample sheet found"


@dataclass(frozen=True, eq=False, kw_only=True)
class Parser:
    """Reader of files of one kind, which must name the same genes of the same gene model."""

    format: str
    column: str
    first: Path
    model: str
    gene_ids: pa.Array

    def values(self, path: Path) -> NDArray[np.float32]:
        """Values of one file, in the order of the first file's genes."""
        model, table = _read(self.format, path, self.column)
        ids = table["gene_id"].combine_chunks()
        if model != self.model:
            pair = f"{str(path)!r} is of gene model {model!r}, {str(self.first)!r} of"
            raise CohortError(f"{pair} {self.model!r}", hint="import files of one release")
        if not ids.equals(self.gene_ids):
            raise CohortError(self._difference(path, ids), hint="import files of one release")
        return table.column(1).combine_chunks().to_numpy(zero_copy_only=False)

    def _difference(self, path: Path, ids: pa.Array) -> str:
        """Say where the genes of a file differ."""
        if len(ids) != len(self.gene_ids):
            return f"{str(path)!r} has {len(ids)} rows, {str(self.first)!r} {len(self.gene_ids)}"
        pairs = zip(ids.to_pylist(), self.gene_ids.to_pylist(), strict=True)
        row, (one, other) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
        return f"row {row} of {str(path)!r} is {one!r}, of {str(self.first)!r} {other!r}"


def star_source(
    files: Sequence[Path], sheet_paths: Sequence[Path], *, scale: str | None, where: str
) -> Source:
    """Open STAR files; the scale chooses the column, by default FPKM as in the paper.

    Returns
    -------
    The source; a file is read only when its values are.

    Raises
    ------
    ConfigError
        If the files do not have the scale.
    CohortError
        If a file cannot be read or belongs to no sample.
    """
    chosen = scale or DEFAULT_SCALE
    column = star.column_of(chosen)
    paired = _paired(files, sheet_paths, suffix=star.SUFFIX)
    model, table = star.read_star(paired.files[0], column, annotated=True)
    described = {name: table[name].to_pylist() for name in ("gene_id", *star.ANNOTATION)}
    return _source("star", paired, table, (model, column, chosen, where), genes=described)


def htseq_source(
    files: Sequence[Path], sheet_paths: Sequence[Path], *, scale: str | None, where: str
) -> Source:
    """Open HTSeq files; of several kinds, those of the scale, by default FPKM.

    Returns
    -------
    The source; a file is read only when its values are.

    Raises
    ------
    CohortError
        If no file has the scale, or a file cannot be read or belongs to no sample.
    """
    scales = {path: htseq.scale_by_name(path) for path in files}
    kinds = {kind for kind in scales.values() if kind}
    chosen = scale or (next(iter(kinds)) if len(kinds) == 1 else DEFAULT_SCALE if kinds else None)
    kept = [path for path, kind in scales.items() if kind in {chosen, None}]
    if not kept:
        problem = f"{where} has no HTSeq file of scale {chosen!r}, only of {listed(sorted(kinds))}"
        raise CohortError(problem, hint="give another --scale")
    paired = _paired(kept, sheet_paths, suffix="".join(kept[0].suffixes[-2:]).removesuffix(".gz"))
    table = htseq.read_htseq(paired.files[0])
    genes = {"gene_id": table["gene_id"].to_pylist()}
    return _source("htseq", paired, table, ("", htseq.VALUE, chosen, where), genes=genes)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Paired:
    """Files with what is known of each."""

    files: tuple[Path, ...]
    known: tuple[Listed, ...]
    sheets: tuple[Path, ...]
    counts: tuple[Count, ...]
    left_out: tuple[Exclusion, ...]


def _paired(files: Sequence[Path], sheet_paths: Sequence[Path], *, suffix: str) -> _Paired:
    """Pair the files with their samples."""
    _check_names(files)
    if not sheet_paths:
        known = [_by_name(path) for path in files]
        return _Paired(files=tuple(files), known=tuple(known), sheets=(), counts=(), left_out=())
    sheet = sheets.read_sheets(sheet_paths)
    names = {plain_name(path): path for path in files}
    wanted = {name for name in sheet if name.endswith(suffix) or name in names}
    kept = [path for name, path in names.items() if name in sheet]
    if not kept:
        given = listed(str(path) for path in sheet_paths)
        problem = f"{given} names none of the {len(files)} files: {listed(sorted(names))}"
        raise CohortError(problem, hint=sheets.HINT)
    absent, unknown = sorted(wanted - set(names)), sorted(set(names) - set(sheet))
    missing = [left_out(_case(sheet[name]), _DISK_RULE, f"no file {name}") for name in absent]
    nameless = [left_out("", _SHEET_RULE, f"{name} is not in the sample sheet") for name in unknown]
    return _Paired(
        files=tuple(kept),
        known=tuple(sheet[plain_name(path)] for path in kept),
        sheets=tuple(sheet_paths),
        counts=(
            Count(_DISK_RULE, "samples", len(wanted), len(wanted) - len(absent)),
            Count(_SHEET_RULE, "files", len(files), len(kept)),
        ),
        left_out=(*missing, *nameless),
    )


def _check_names(files: Sequence[Path]) -> None:
    """Refuse two files of the same name, which a sheet cannot distinguish."""
    repeated = [name for name, n in Counter(map(plain_name, files)).items() if n > 1]
    if repeated:
        places = [str(path) for path in files if plain_name(path) == repeated[0]]
        problem = f"{len(repeated)} file names appear more than once: {listed(places)}"
        raise CohortError(problem, hint="keep one copy of each file")


def _by_name(path: Path) -> Listed:
    """Sample of a file without a sheet, by a barcode in its name."""
    found = _BARCODE.search(path.name)
    if found is None:
        problem = f"no sample sheet names the case of {str(path)!r}, nor does the name of the file"
        raise CohortError(problem, hint=sheets.HINT)
    return Listed(sample_id=found[0].upper(), case_id=tcga_case(found[0]) or "")


def _case(one: Listed) -> str:
    """Case of a sample, if it is known."""
    return one.case_id or tcga_case(one.sample_id) or one.sample_id


def _source(
    kind: str,
    paired: _Paired,
    table: pa.Table,
    how: tuple[str, str, str | None, str],
    *,
    genes: dict[str, list[str]],
) -> Source:
    """Make a source of files that are read only when their values are needed."""
    model, column, scale, where = how
    parser = Parser(
        format=kind,
        column=column,
        first=paired.files[0],
        model=model,
        gene_ids=table["gene_id"].combine_chunks(),
    )

    def read(samples: Sequence[int], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        values = np.empty((len(samples), len(columns)), dtype=np.float32)
        bar = tqdm(samples, desc="reading", unit="file", disable=None, leave=False)
        for row, sample in enumerate(bar):
            values[row] = parser.values(paired.files[sample])[columns]
        return values

    pairs = zip(paired.known, paired.files, strict=True)
    facts = [{**one.facts, FILE: path.name} for one, path in pairs]
    obs = pd.DataFrame(facts, columns=sheets.columns_of(facts), dtype=object).fillna("")
    return Source(
        format=kind,
        where=where,
        files=(*paired.files, *paired.sheets),
        sample_ids=tuple(one.sample_id for one in paired.known),
        case_ids=tuple(_case(one) for one in paired.known),
        genes=pd.DataFrame(genes, dtype=object).fillna(""),
        read=read,
        obs=obs,
        scale=scale,
        label_key=sheets.PROJECT if sheets.PROJECT in obs else None,
        counts=paired.counts,
        left_out=paired.left_out,
        notes={"gene_model": model} if model else {},
    )


def _read(kind: str, path: Path, column: str) -> tuple[str, pa.Table]:
    """Gene model and table of a file of a kind."""
    return star.read_star(path, column) if kind == "star" else ("", htseq.read_htseq(path))
