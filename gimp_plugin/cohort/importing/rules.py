"""Options of an import."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gimp_plugin.errors import ConfigError, did_you_mean

AUTO = "auto"
FORMATS = (AUTO, "star", "htseq", "xena", "cbioportal", "matrix", "porpoise", "h5ad")
GENES_BY_CASES, CASES_BY_GENES = "genes-by-cases", "cases-by-genes"
PER_ALIQUOT = ("star", "htseq")
ORIENTATIONS = (AUTO, GENES_BY_CASES, CASES_BY_GENES)
ERROR, FIRST, MEAN, SUM = "error", "first", "mean", "sum"
DUPLICATE_GENES = (ERROR, SUM, MEAN, FIRST)
DUPLICATE_CASES = (ERROR, FIRST, MEAN)
PRIMARY, TUMOUR, ALL = "primary", "tumour", "all"
SAMPLES = (PRIMARY, TUMOUR, ALL)
ENSEMBL, SYMBOLS = "ensembl", "symbols"
GENE_IDS = (ERROR, ENSEMBL, SYMBOLS)
ZERO, DROP_GENES, DROP_CASES = "zero", "drop-genes", "drop-cases"
IMPUTE = (ERROR, ZERO, DROP_GENES, DROP_CASES)

_CHOICES = {
    "format": FORMATS,
    "orientation": ORIENTATIONS,
    "duplicate_genes": DUPLICATE_GENES,
    "duplicate_cases": DUPLICATE_CASES,
    "samples": SAMPLES,
    "gene_ids": GENE_IDS,
    "impute": IMPUTE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRules:
    """How to make a cohort from a source; `docs/how-to/import-genes.md` explains each rule.

    Parameters
    ----------
    format, orientation
        Layout of the source, if it cannot be detected.
    scale
        Scale of the values, which also chooses the column of a STAR file.
    layer
        Layer of an AnnData file to use instead of X.
    sample_sheets
        GDC sample sheets or metadata: which file is of which sample.
    case_key
        Column that names the case.
    labels, label_key
        Clinical table, and the column with the class.
    obs_columns
        Columns of a table of cases that are not genes.
    obs_filters
        Conditions `column=value` or `column!=value` that a case must fulfil.
    samples, keep_ffpe, aliquots, duplicate_cases
        Which sample stands for a case.
    gene_ids, duplicate_genes, shared_genes, gene_table
        Which genes there are, and what is known of them.
    impute
        What to do with missing values.
    """

    format: str = AUTO
    orientation: str = AUTO
    scale: str | None = None
    layer: str | None = None
    sample_sheets: tuple[Path, ...] = ()
    case_key: str | None = None
    labels: Path | None = None
    label_key: str | None = None
    obs_columns: tuple[str, ...] = ()
    obs_filters: tuple[str, ...] = ()
    samples: str = PRIMARY
    keep_ffpe: bool = False
    aliquots: Path | None = None
    duplicate_cases: str = ERROR
    gene_ids: str = ERROR
    duplicate_genes: str = ERROR
    shared_genes: bool = False
    gene_table: Path | None = None
    impute: str = ERROR

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            _check(f"--{name.replace('_', '-')}", getattr(self, name), known)
        if self.scale is not None:
            from gimp_plugin.cohort.scales import SCALES  # needs numpy, slow for --help

            _check("--scale", self.scale, SCALES)

    def to_dict(self) -> dict[str, Any]:
        """Return the values for the record; files by name only."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def tables(self) -> tuple[Path, ...]:
        """Files that the user gave in addition to the source."""
        given = (self.labels, self.aliquots, self.gene_table)
        return tuple(path for path in given if path is not None)


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse an unknown value of an option."""
    if value not in known:
        problem = f"{option} {value!r} is unknown{did_you_mean(value, known)}"
        raise ConfigError(problem, hint=f"choose from {', '.join(known)}")


def _plain(value: Any) -> Any:
    """Paths as names, tuples as lists."""
    if isinstance(value, Path):
        return value.name
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
