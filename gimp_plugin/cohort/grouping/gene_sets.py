"""Grouping by the gene sets of a GMT file, the format of MSigDB."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.ids import gene_without_version
from gimp_plugin.cohort.names import other_names
from gimp_plugin.errors import CohortError, ConfigError, MissingFileError, SafetyError, listed

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

MAX_BYTES = 2**28
_FORMAT = "each line holds the name of a set, its address and its genes, separated by tabs"


@dataclass(frozen=True, slots=True)
class GeneSet:
    """One line of a GMT file."""

    name: str
    genes: tuple[str, ...]


def gene_set_order(
    gene_ids: Sequence[str],
    *,
    genes: pd.DataFrame,
    argument: str = "",
    **context: object,  # noqa: ARG001  # what others need
) -> NDArray[np.int64]:
    """Put the genes of one set together, the sets in the order of the file.

    A gene goes to the first set that names it, by its id (an Ensembl id also without version) or
    by another name known to the cohort, at the place the set gives it. Genes of no set come last,
    in the order of the cohort.

    Parameters
    ----------
    gene_ids
        The genes.
    genes
        Table of the genes; the column `gene_name` holds their symbols.
    argument
        Path of the file, .gmt or .gmt.gz.

    Returns
    -------
    A permutation of the genes.

    Raises
    ------
    ConfigError
        If no file is named.
    CohortError
        If the sets name none of the genes.
    """
    if not argument:
        raise ConfigError("gene grouping 'gmt' needs a file of gene sets", hint="give gmt:FILE")
    path = Path(argument)
    sets = read_gmt(path)
    columns_of = _columns_by_name(gene_ids, genes)
    chosen: dict[int, None] = {}
    n_used = 0
    for gene_set in sets:
        before = len(chosen)
        for name in gene_set.genes:
            chosen.update(dict.fromkeys(_columns(name, columns_of)))
        n_used += len(chosen) > before
    named = dict.fromkeys(name for gene_set in sets for name in gene_set.genes)
    known = [name for name in named if _columns(name, columns_of)]
    _check_overlap(path, gene_ids, list(named), n_known=len(known), n_placed=len(chosen))
    logger.info("%s: %d of %d sets hold %d genes", path.name, n_used, len(sets), len(chosen))
    rest = [column for column in range(len(gene_ids)) if column not in chosen]
    return np.array([*chosen, *rest], dtype=np.int64)


def places_of_sets(
    sets: Iterable[GeneSet], gene_ids: Sequence[str], *, genes: pd.DataFrame
) -> dict[str, NDArray[np.int64]]:
    """Find the genes of each set, by the rules of `gene_set_order`.

    Parameters
    ----------
    sets
        The sets; two sets of the same name are merged.
    gene_ids, genes
        The genes, and their table.

    Returns
    -------
    Places of the genes, in increasing order, by name of the set.
    """
    columns_of = _columns_by_name(gene_ids, genes)
    found: dict[str, set[int]] = {}
    for one in sets:
        places = found.setdefault(one.name, set())
        places.update(place for name in one.genes for place in _columns(name, columns_of))
    return {name: np.array(sorted(places), dtype=np.int64) for name, places in found.items()}


def read_gmt(path: Path) -> list[GeneSet]:
    """Read gene sets.

    Parameters
    ----------
    path
        A GMT file, compressed if its name ends in .gz. Empty lines are skipped.

    Returns
    -------
    The sets in the order of the file, at least one.

    Raises
    ------
    MissingFileError
        If there is no such file.
    SafetyError
        If it is too large for a file of gene sets.
    CohortError
        If it is not text, or a line is malformed; the message names the file and the line.
    """
    lines = _text(path).splitlines()
    sets = [_gene_set(line, f"{str(path)!r}, line {n}") for n, line in enumerate(lines, 1) if line]
    if not sets:
        raise CohortError(f"{str(path)!r} holds no gene set", hint=_FORMAT)
    return sets


def _text(path: Path) -> str:
    """Text of a file of gene sets, up to the largest size allowed."""
    if path.exists() and not path.is_file():  # reading a pipe would hang
        raise CohortError(f"{str(path)!r} is not a file", hint=_FORMAT)
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as missing:
        hint = "give gmt:FILE; a path is relative to the current folder"
        raise MissingFileError(f"no file of gene sets {str(path)!r}", hint=hint) from missing
    except (OSError, EOFError, zlib.error) as error:
        raise CohortError(f"{str(path)!r} cannot be read: {error}", hint=_FORMAT) from error
    if len(content) > MAX_BYTES:
        problem = f"{str(path)!r} holds more than {MAX_BYTES >> 20} MiB of text"
        raise SafetyError(problem, hint="give a file of gene sets")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"{str(path)!r}, line {line}: byte {content[error.start]:#04x} is not UTF-8"
        raise CohortError(problem, hint=_FORMAT) from error


def _gene_set(line: str, where: str) -> GeneSet:
    """Parse and check one line."""
    fields = [field.strip() for field in line.split("\t")]
    genes = tuple(field for field in fields[2:] if field)
    if not fields[0]:
        raise CohortError(f"{where}: the set has no name", hint=_FORMAT)
    if not genes:
        shown = line if len(line) <= 60 else f"{line[:60]}..."
        raise CohortError(f"{where}: {shown!r} names no gene", hint=_FORMAT)
    return GeneSet(fields[0], genes)


def _columns_by_name(gene_ids: Sequence[str], genes: pd.DataFrame) -> list[dict[str, list[int]]]:
    """Columns of the genes by exact id, by id without version, and by other names."""
    stable, other = defaultdict(list), defaultdict(list)
    for column, (gene_id, names) in enumerate(zip(gene_ids, other_names(genes), strict=True)):
        stable[gene_without_version(gene_id)].append(column)
        for name in dict.fromkeys(map(gene_without_version, names)):
            other[name].append(column)
    return [{gene_id: [column] for column, gene_id in enumerate(gene_ids)}, stable, other]


def _columns(name: str, columns_of: Iterable[dict[str, list[int]]]) -> list[int]:
    """Columns of the genes that a name means, by the first kind of name that finds one."""
    exact, *loose = columns_of
    if name in exact:
        return exact[name]
    short = gene_without_version(name)
    return next((columns[short] for columns in loose if short in columns), [])


def _check_overlap(
    path: Path, gene_ids: Sequence[str], named: Sequence[str], *, n_known: int, n_placed: int
) -> None:
    """Refuse sets without any of the genes; warn if most names or most genes find no partner."""
    found = f"{n_known} of {len(named)} names in {str(path)!r} are genes of the cohort"
    if not n_known:
        problem = f"{found}: the sets name {listed(named, limit=3)}, the cohort has "
        hint = "give sets with the same ids, or add the symbols with gimp import-genes --gene-table"
        raise CohortError(f"{problem}{len(gene_ids)} genes: {listed(gene_ids, limit=3)}", hint=hint)
    if 2 * n_known < len(named) or 2 * n_placed < len(gene_ids):
        placed = f"{n_placed} of {len(gene_ids)} genes are in a set, the others come last"
        logger.warning("gene grouping gmt: %s; %s", found, placed)
