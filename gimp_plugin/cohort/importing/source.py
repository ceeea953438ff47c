"""The interface of all sources of expression: samples, genes, and a reader of the values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gimp_plugin.cohort.importing.report import Count
from gimp_plugin.storage.tables import Exclusion

NAMED_BY = "cases_named_by"
"""Note: column of the source that names the samples."""

Reader = Callable[[Sequence[int], NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """Expression of some samples, read only when needed where possible.

    Parameters
    ----------
    format
        Name of the layout.
    where
        The source's name for messages, quoted.
    files
        All files that the result depends on.
    sample_ids
        Name of each sample, as complete as the source knows it; several may be equal.
    genes
        One row per gene or other row of the source, with the column `gene_id` as spelled in the
        source, and its other columns that describe genes.
    read
        Returns the values of some samples and genes, given by number: shape (sample, gene), NaN
        for a missing value.
    obs
        What the source says of the samples, one row each.
    case_ids
        The source's names of the cases, empty if it has none.
    scale
        Scale of the source, if it has a fixed one.
    label_key
        Column of `obs` with the class, if the user names none.
    counts, left_out
        What has been left out so far.
    warnings
        Warnings for the user.
    notes
        Facts for the record.
    """

    format: str
    where: str
    files: tuple[Path, ...]
    sample_ids: tuple[str, ...]
    genes: pd.DataFrame
    read: Reader
    obs: pd.DataFrame
    case_ids: tuple[str, ...] = ()
    scale: str | None = None
    label_key: str | None = None
    counts: tuple[Count, ...] = ()
    left_out: tuple[Exclusion, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


def reader_of(values: NDArray[np.float32]) -> Reader:
    """Make a reader of values in memory, shape (sample, gene)."""

    def read(samples: Sequence[int], genes: NDArray[np.int64]) -> NDArray[np.float32]:
        chosen = np.empty((len(samples), len(genes)), dtype=np.float32)
        for row, sample in enumerate(samples):
            chosen[row] = values[sample][genes]
        return chosen

    return read
