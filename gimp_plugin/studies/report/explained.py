"""Sections from an explanation: genes, and the half that decided."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gimp_plugin.config.explanation import MEAN, OTHER
from gimp_plugin.errors import CheckpointError
from gimp_plugin.evaluation.statistics import mean_interval
from gimp_plugin.evaluation.text import number, p_value
from gimp_plugin.storage.run_files import NUMBER, read_object, read_rows
from gimp_plugin.studies.explanation import gene_tables, tables
from gimp_plugin.studies.explanation.folder import gene_reference_of
from gimp_plugin.studies.report.blocks import (
    Beside,
    Fold,
    Name,
    Picture,
    Table,
    Text,
    lacking,
    said,
)
from gimp_plugin.studies.report.gathering import Reported
from gimp_plugin.studies.report.performance import to

NO_EXPLANATION = "no explanation"
EXPLAIN = (
    "gimp explain --model RUN --adata FILE -o DIR makes one, and --explanation DIR shows it here"
)
N_TOP, N_SETS = 20, 10
OF_GENES = (
    *("insertion_genes", "deletion_genes", "stability_genes", "stability_top_genes"),
    "genes_completeness_error_abs",
)
"""Measures of genes; the others are about patches."""
ENDS = ("mean", "low", "high")
SUMMARY_SHAPE: dict[Any, Any] = {...: {...: (*NUMBER, type(None))}}
STARTS = {
    OTHER: "the mean of the training cases of the other classes, so of two classes a gene says why "
    "this class and not the other",
    MEAN: "the mean of all training cases",
}
GENES_NOTE = (
    "Integrated gradients, in nats, from {start}; the sign is that of the "
    "mean over cases. Correlated genes share one signal, and the model may take any of them. "
    "insertion, deletion: how much more evidence the genes that speak for the class give, or their "
    "absence takes, than random ones. stability: against runs of other seeds, for each case."
)
Block = Text | Table | Beside | Fold | Picture
Row = dict[str, str]


def rows_of(folder: Path, name: str, *needed: str) -> list[Row]:
    """Rows of a table of an explanation; empty if it was not written."""
    return read_rows(folder / name, *needed) if (folder / name).is_file() else []


def number_in(row: Mapping[str, str], column: str, path: Path) -> float:
    """Read a cell of a table as a number.

    Parameters
    ----------
    row, column
        The cell.
    path
        The table, for the message.

    Returns
    -------
    The number; NaN for an empty cell.

    Raises
    ------
    CheckpointError
        If the cell is not a number.
    """
    text = row.get(column, "")
    try:
        return float(text) if text else math.nan
    except ValueError as error:
        problem = f"{str(path)!r} is damaged: column {column!r} has {text!r:.60}"
        raise CheckpointError(f"{problem}, expected a number") from error


def measured_of(folder: Path) -> dict[str, dict[str, float]]:
    """Content of `faithfulness.json`; empty if nothing was measured."""
    path = folder / tables.SUMMARY
    return read_object(path, SUMMARY_SHAPE) if path.is_file() else {}


def measured(measure: str, value: float, *, digits: int = 3) -> str:
    """Format the value of a measure, with a sign unless it is an AUC or an absolute value."""
    unsigned = measure.startswith("auc") or measure.endswith("_abs")
    return f"{value:.{digits}f}" if unsigned else f"{value:+.{digits}f}"


def measures_of(folder: Path, caption: str, wanted: Callable[[str], bool]) -> Table | None:
    """Make a table of the means of measures, with intervals.

    Parameters
    ----------
    folder
        The explanation.
    caption
        Caption of the table.
    wanted
        Whether to include a measure, by its name.

    Returns
    -------
    The table; None if none of these was measured.
    """
    rows = [
        [
            name,
            *(measured(name, one[end]) for end in ("mean", "low", "high")),
            f"{one['n_cases']:.0f}",
        ]
        for name, one in sorted(measured_of(folder).items())
        if wanted(name) and {*ENDS, "n_cases"} <= {end for end in one if one[end] is not None}
    ]
    header = ["measure", *ENDS, "cases"]
    return Table(caption=caption, header=header, rows=rows) if rows else None


def genes_of(one: Reported) -> tuple[Block, ...]:
    """Most important genes, groups and gene sets."""
    folder = one.explanation
    if folder is None:
        return lacking(NO_EXPLANATION, EXPLAIN)
    path = folder / gene_tables.TOP_GENES
    rows = rows_of(folder, gene_tables.TOP_GENES, "gene_id", "mean_abs", "mean_explained")
    if not rows:
        return lacking("no genes were explained", "a run with genes, without --skip genes")
    columns = [name for name in ("gene_id", "name", "group") if any(row.get(name) for row in rows)]
    with_runs = "n_runs_top" in rows[0]  # number of runs in which it is a top gene
    counted = f"The {min(N_TOP, len(rows))} of {len(rows):,} genes"
    top = Table(
        caption=f"{counted} with the largest mean attributions",
        header=[
            *(name.removesuffix("_id") for name in columns),
            *("mean |attribution|", "mean, to the explained class"),
            *(["runs"] if with_runs else []),
        ],
        rows=[
            [
                *(Name(row[column]) for column in columns),
                f"{number_in(row, 'mean_abs', path):.4f}",
                f"{number_in(row, 'mean_explained', path):+.4f}",
                *([Name(row["n_runs_top"])] if with_runs else []),
            ]
            for row in rows[:N_TOP]
        ],
        n_texts=len(columns),
    )
    found = (top, *_truth_of_genes(folder), *_others(folder), *_groups(folder), *_sets(folder))
    start = STARTS.get(gene_reference_of(folder), STARTS[MEAN])
    return (said(GENES_NOTE.format(start=start)), Beside(found))


def halves_of(one: Reported) -> tuple[Block, ...]:
    """Which half decided, by the Shapley values of both."""
    folder = one.explanation
    if folder is None:
        return lacking(NO_EXPLANATION, EXPLAIN)
    path, columns = folder / tables.MODALITIES, ("shapley_slides", "shapley_genes")
    rows = rows_of(folder, tables.MODALITIES, "case_id", "explained", "decided", *columns)
    if not rows:
        return lacking("no case was predicted from each half", "a run of both halves with dropout")
    values = {
        column: np.array([number_in(row, column, path) for row in rows]) for column in columns
    }
    counts = Counter(row["decided"] for row in rows)
    summary = Table(
        caption=f"What each half adds to the evidence, {len(rows)} cases",
        header=["half", "cases it decided", "mean, nats", "95 % interval"],
        rows=[
            [half, str(counts[half]), f"{own.mean():+.3f}", to(*mean_interval(own, seed=0))]
            for half, own in zip(("slides", "genes"), values.values(), strict=True)
        ],
    )
    order = np.argsort(values["shapley_slides"] - values["shapley_genes"], kind="stable")
    cases = Table(
        caption="Shapley values of the two halves, from genes decided to slides decided",
        header=["case", "explained", "decided", "slides", "genes"],
        rows=[
            [
                *(Name(rows[at][column]) for column in ("case_id", "explained", "decided")),
                *(f"{values[column][at]:+.3f}" for column in columns),
            ]
            for at in order.tolist()
        ],
        n_texts=3,
    )
    return (summary, Fold(f"All {len(rows):,} cases", (cases,)))


def _truth_of_genes(folder: Path) -> list[Table]:
    """Whether gene attributions are faithful to the model, and agree with other runs."""
    caption = "Whether the genes are true: means with 95 % intervals"
    found = measures_of(folder, caption, lambda name: name in OF_GENES)
    return [] if found is None else [found]


def _others(folder: Path) -> list[Table]:
    """Whether other runs rank the genes similarly, over all cases together."""
    path = folder / gene_tables.OTHERS
    columns = ("run", "n_genes", "n_top", "spearman", "overlap_top", "overlap_by_chance")
    rows = rows_of(folder, gene_tables.OTHERS, *columns)
    cells = [
        [
            *(Name(row[column]) for column in columns[:3]),
            *(number(number_in(row, column, path)) for column in columns[3:]),
        ]
        for row in rows
    ]
    header = ["run", "genes", "top genes", "rank correlation", "top genes shared", "by chance"]
    caption = "Mean |attribution| beside that of other runs"
    return [Table(caption=caption, header=header, rows=cells)] if cells else []


def _groups(folder: Path) -> list[Table]:
    """Groups of genes with the largest sums of attributions."""
    path = folder / gene_tables.GROUPS
    rows = rows_of(folder, gene_tables.GROUPS, "group", "class", "n_genes", "mean", "mean_abs")
    rows.sort(key=lambda row: -number_in(row, "mean_abs", path))
    cells = [
        [
            *(Name(row[column]) for column in ("group", "class", "n_genes")),
            f"{number_in(row, 'mean', path):+.3f}",
            f"{number_in(row, 'mean_abs', path):.3f}",
        ]
        for row in rows[:N_TOP]
    ]
    header = ["group", "class", "genes", "mean of the sum", "mean |sum|"]
    caption = "Groups of genes with the largest sums"
    return [Table(caption=caption, header=header, rows=cells, n_texts=2)] if cells else []


def _sets(folder: Path) -> list[Table]:
    """Gene sets with the smallest q."""
    path = folder / gene_tables.SETS
    rows = rows_of(folder, gene_tables.SETS, "name", "n_genes", "auc", "p", "q")
    rows.sort(key=lambda row: number_in(row, "q", path))
    cells = [
        [
            Name(row["name"]),
            Name(row["n_genes"]),
            number(number_in(row, "auc", path)),
            *(p_value(number_in(row, column, path)) for column in ("p", "q")),
        ]
        for row in rows[:N_SETS]
    ]
    header = ["set of genes", "genes", "AUC", "p", "q"]
    return [Table(caption="Sets of genes", header=header, rows=cells)] if cells else []
