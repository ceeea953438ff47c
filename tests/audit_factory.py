"""Cohorts for the audit: clean ones, and ones with a planted leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.audit import Audit, audit
from gimp_plugin.cohort.audit.subject import Subject
from tests.cohort_factory import draw_values, make_cohort

LEAKS = ("standardised within groups", "floors that differ between groups")
SITE = "site = label"


def balanced_labels(n_cases: int, classes: Sequence[str] = ("LUAD", "LUSC")) -> list[str]:
    return [classes[case % len(classes)] for case in range(n_cases)]


def subject_of(
    values: Any,
    *,
    obs: Mapping[str, Any] | None = None,
    case_ids: Sequence[str] | None = None,
    gene_ids: Sequence[str] | None = None,
    declared: str | None = None,
) -> Subject:
    """A cohort in memory, `P00` by `G000`."""
    import pandas as pd

    values = np.asarray(values, dtype=np.float32)
    return Subject(
        name="memory.h5ad",
        case_ids=tuple(case_ids or (f"P{row:02d}" for row in range(values.shape[0]))),
        gene_ids=tuple(gene_ids or (f"G{column:03d}" for column in range(values.shape[1]))),
        values=values,
        obs=pd.DataFrame(dict(obs or {}), index=range(values.shape[0])),
        declared=declared,
    )


def log_values(n_cases: int = 83, n_genes: int = 61, *, seed: int = 0) -> NDArray[np.float64]:
    """Log expression that differs between classes, as float64."""
    return draw_values(balanced_labels(n_cases), n_genes, seed=seed).astype(np.float64)


def standardise(values: NDArray[np.float64], *, ddof: int = 0) -> NDArray[np.float64]:
    return (values - values.mean(axis=0)) / values.std(axis=0, ddof=ddof)


def standardise_within(
    values: NDArray[np.float64], groups: Sequence[str], *, ddof: int = 0
) -> NDArray[np.float64]:
    """Standardise each group separately."""
    found, names = values.copy(), np.array(groups)
    for name in sorted(set(groups)):
        found[names == name] = standardise(values[names == name], ddof=ddof)
    return found


def with_floors(values: NDArray[np.float64], *, every: int = 10) -> NDArray[np.float64]:
    """Set the lowest 30 % of every tenth gene to 0, over all cases."""
    found = values.copy()
    for gene in range(0, values.shape[1], every):
        lowest = np.argsort(values[:, gene], kind="stable")[: int(0.3 * len(values))]
        found[lowest, gene] = 0.0
    return found


def audit_of(folder: Path, values: Any = None, **options: Any) -> Audit:
    """Write a cohort (options of `make_cohort`) and audit it."""
    asked = {key: options.pop(key) for key in ("features", "splits", "fold") if key in options}
    path = make_cohort(folder / "genes.h5ad", values=values, **options)
    return audit(path, **asked)


def verdicts(found: Audit, checks: Sequence[str] = LEAKS) -> list[str]:
    return [found.of(check).verdict for check in checks]
