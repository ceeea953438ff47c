"""Checks of the genes: their names and values."""

from __future__ import annotations

from collections import Counter, defaultdict
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gimp_plugin.cohort.audit.findings import Finding, finding, named, ok, skipped
from gimp_plugin.cohort.audit.subject import Subject
from gimp_plugin.cohort.gene_match import RULE, match_genes
from gimp_plugin.cohort.ids import gene_without_version, is_ensembl
from gimp_plugin.cohort.names import doubtful_names
from gimp_plugin.errors import GimpError, counted
from gimp_plugin.storage.runs import read_run

IDS, NAMES, COLUMNS, CONSTANT = "gene ids", "gene names", "repeated genes", "constant genes"
COVERAGE = "genes of the run"
MOST_CONSTANT = 0.5
LEAST_COVERAGE = 0.95
_LEAST_VARIED = 0.5
_FEWEST_CASES = 10


def check_gene_ids(subject: Subject) -> Finding:
    """Check whether the genes are named by Ensembl ids, other names, or both."""
    ensembl = [name for name in subject.gene_ids if is_ensembl(name)]
    n_genes = len(subject.gene_ids)
    if 0 < len(ensembl) < n_genes:
        others = [name for name in subject.gene_ids if not is_ensembl(name)]
        return finding(
            IDS,
            f"{len(ensembl):,} Ensembl ids ({named(ensembl, limit=3)}) and {len(others):,} other "
            f"names ({named(others, limit=3)})",
            why="genes are matched by name, so that a mixed table matches another one only in part",
            remedy="use one kind of name: gimp import-genes --gene-ids ensembl or symbols",
            n_ensembl=len(ensembl),
            n_others=len(others),
        )
    kind = "Ensembl ids" if ensembl else "symbols or other names"
    return ok(IDS, f"{n_genes:,} {kind}", n_ensembl=len(ensembl), n_others=n_genes - len(ensembl))


def check_gene_names(subject: Subject) -> Finding:
    """Look for empty or repeated names, ignoring the versions of Ensembl ids."""
    counts = Counter(gene_without_version(name) for name in subject.gene_ids)
    empty = counts.pop("", 0)
    repeated = [name for name, count in counts.items() if count > 1]
    doubts = doubtful_names(list(counts))
    if not (empty or repeated or doubts):
        return ok(NAMES, "each gene has one name of its own")
    parts = [f"{counted(empty, 'gene')} without a name"] if empty else []
    if repeated:
        n_names = counted(len(repeated), "name")
        parts.append(f"{n_names} shared by several genes: {named(repeated)}")
    why = "it is unclear which of the genes is meant; training refuses such a table"
    remedy = "combine them with gimp import-genes --duplicate-genes sum, mean or first"
    if doubts:
        why = "such a gene is not found in other tables, or is not a gene and may reveal the class"
        remedy = "take the names from the source, and remove columns that are not genes"
    return finding(
        NAMES,
        "; ".join([*parts, *doubts]),
        why=why,
        remedy=remedy,
        n_empty=empty,
        repeated=repeated[:100],
    )


def check_repeated_genes(subject: Subject) -> Finding:
    """Look for genes with different names but the same values in all cases.

    Only genes above their lowest value in at least half of the cases count, because genes that are
    hardly expressed agree by chance.

    Returns
    -------
    The verdict.
    """
    n_cases = len(subject.case_ids)
    if n_cases < _FEWEST_CASES:
        return skipped(COLUMNS, f"fewer than {_FEWEST_CASES} cases")
    alike: dict[bytes, list[str]] = defaultdict(list)
    for genes, block in subject.blocks(subject.varying_genes):
        varied = (block > block.min(axis=0)).mean(axis=0) >= _LEAST_VARIED
        columns = np.ascontiguousarray(block[:, varied].T) + np.float32(0)
        for gene, column in zip(genes[varied], columns, strict=True):
            key = blake2b(column.tobytes(), digest_size=16).digest()
            alike[key].append(subject.gene_ids[gene])
    groups = [names for names in alike.values() if len(names) > 1]
    if not groups:
        return ok(COLUMNS, "no two genes have the same values")
    shown = [" = ".join(names[:3]) for names in groups]
    n_genes = sum(map(len, groups))
    return finding(
        COLUMNS,
        f"{counted(n_genes, 'gene')} share their values with another: {named(shown)}",
        why="a repeated gene counts twice, and often comes from a mistake in joining tables",
        remedy="keep one of each: gimp import-genes --duplicate-genes first",
        groups=[names[:10] for names in groups[:100]],
    )


def check_constant_genes(subject: Subject) -> Finding:
    """Count genes with the same value in all cases."""
    n_genes, finite = len(subject.gene_ids), int(subject.finite_genes.sum())
    constant = np.flatnonzero(subject.finite_genes & ~subject.varying_genes)
    zero = int((subject.values[0, constant] == 0).sum())
    share = len(constant) / max(1, finite)
    found = f"{len(constant):,} of {n_genes:,} genes ({share:.1%}), {zero:,} of them 0"
    if share <= MOST_CONSTANT or len(subject.case_ids) < _FEWEST_CASES:
        return ok(CONSTANT, found, n_constant=len(constant), n_zero=zero)
    return finding(
        CONSTANT,
        found,
        why="most of the table carries no information; was it joined with one of other genes?",
        remedy="check how the table was made; training leaves constant genes out",
        n_constant=len(constant),
        n_zero=zero,
    )


def check_coverage(subject: Subject, run: Path | None) -> Finding:
    """Count the genes of a trained model that the cohort has."""
    if run is None:
        return skipped(COVERAGE, "no --model was given")
    try:
        wanted = [row["id"] for row in read_run(run).gene_rows]
        if not wanted:
            return skipped(COVERAGE, f"{run.name} reads no genes")
        match = match_genes(wanted, subject.gene_ids)
    except GimpError as error:
        return finding(
            COVERAGE,
            error.problem,
            why="the run cannot predict on this cohort",
            remedy=error.hint or "give another run",
        )
    found = f"{match.coverage:.1%} of {counted(len(wanted), 'gene')}"
    if match.missing:
        found += f"; missing: {named(match.missing)}"
    numbers = {"coverage": match.coverage, "missing": list(match.missing[:100])}
    if match.coverage >= LEAST_COVERAGE:
        return ok(COVERAGE, found, **numbers)
    return finding(
        COVERAGE,
        found,
        why="gimp predict refuses a cohort with less than 95 % of the genes that the model reads",
        remedy=f"name the genes as the run does ({RULE}), or use another table",
        **numbers,
    )
