"""Find the genes of a model in another cohort, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.ids import gene_without_version, is_y_copy
from gimp_plugin.errors import CohortError, listed

RULE = (
    "genes are matched by their exact id, then by their Ensembl id without version, then by the "
    "other names that either side gives them (column gene_name)"
)
Names = Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneMatch:
    """Column of each wanted gene in a cohort.

    Parameters
    ----------
    columns
        Column of the cohort for each wanted gene, -1 if the gene is missing.
    missing
        Wanted genes that the cohort lacks.
    extra
        Genes of the cohort that are not wanted.
    """

    columns: NDArray[np.int64]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the wanted genes that the cohort has, 0 to 1."""
        return (len(self.columns) - len(self.missing)) / len(self.columns)


def match_genes(
    wanted: Sequence[str],
    present: Sequence[str],
    *,
    wanted_names: Names | None = None,
    present_names: Names | None = None,
) -> GeneMatch:
    """Match genes by exact id, then Ensembl ids without their versions, then other names.

    A name shared by several genes of one side is ambiguous and matches none of them.

    Parameters
    ----------
    wanted
        Ids of the model's genes, in its order.
    present
        Ids of the cohort's genes.
    wanted_names, present_names
        Other names of each gene, for instance its symbol in addition to an Ensembl id.

    Returns
    -------
    The match.

    Raises
    ------
    CohortError
        If two genes of one side differ only in their version, and the other side does not say
        which is meant.
    """
    column_of = {gene_id: column for column, gene_id in enumerate(present)}
    columns = [column_of.get(gene_id, -1) for gene_id in wanted]
    _match_versions(columns, wanted, present)
    if wanted_names is not None or present_names is not None:
        _match_names(
            columns,
            _all_names(wanted, wanted_names),
            _all_names(present, present_names),
        )
    taken = set(columns)
    return GeneMatch(
        columns=np.array(columns, dtype=np.int64),
        missing=tuple(name for name, at in zip(wanted, columns, strict=True) if at < 0),
        extra=tuple(gene_id for column, gene_id in enumerate(present) if column not in taken),
    )


def _match_versions(columns: list[int], wanted: Sequence[str], present: Sequence[str]) -> None:
    """Match the genes whose Ensembl ids differ only in their version."""
    taken = set(columns)
    without_version: dict[str, list[int]] = defaultdict(list)
    for column, gene_id in enumerate(present):
        if column not in taken:
            without_version[gene_without_version(gene_id)].append(column)
    for place, gene_id in enumerate(wanted):
        if columns[place] >= 0:
            continue
        candidates = without_version.get(gene_without_version(gene_id), [])
        if len(candidates) > 1 or (candidates and candidates[0] in taken):
            names = listed(sorted(present[column] for column in candidates))
            problem = f"gene {gene_id!r} differs from {names} only by its version"
            raise CohortError(problem, hint=f"give each gene once; {RULE}")
        if candidates:
            columns[place] = candidates[0]
            taken.add(candidates[0])


def _match_names(columns: list[int], wanted: Names, present: Names) -> None:
    """Match the genes with a common name that belongs to a single gene on either side."""
    taken = set(columns)
    column_of = _told_apart(present)
    place_of = _told_apart(wanted)
    for place, names in enumerate(wanted):
        if columns[place] >= 0:
            continue
        found = {column_of[name] for name in names if name in column_of and name in place_of}
        if len(found) == 1 and not found & taken:
            columns[place] = found.pop()
            taken.add(columns[place])


def _all_names(ids: Sequence[str], names: Names | None) -> Names:
    """Id without version and other names of each gene; a copy on Y keeps only its id."""
    others = names if names is not None else [()] * len(ids)
    stable = [gene_without_version(gene_id) for gene_id in ids]
    return [
        (gene_id,) if is_y_copy(gene_id) else (gene_id, *map(gene_without_version, other))
        for gene_id, other in zip(stable, others, strict=True)
    ]


def _told_apart(names: Iterable[Sequence[str]]) -> dict[str, int]:
    """Place of the gene with each name; names of several genes are left out."""
    places: dict[str, set[int]] = defaultdict(set)
    for place, own in enumerate(names):
        for name in own:
            places[name].add(place)
    return {name: min(found) for name, found in places.items() if len(found) == 1}
