"""Tables of a comparison: for people in Markdown and LaTeX, for programs in CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from gimp_plugin.evaluation.text import page, table
from gimp_plugin.storage.tables import csv_text
from gimp_plugin.studies.benchmark import layout
from gimp_plugin.studies.benchmark.folder import Cost, write_if_new
from gimp_plugin.studies.benchmark.latex import as_latex
from gimp_plugin.studies.benchmark.layout import TESTED
from gimp_plugin.studies.benchmark.printed import SETS
from gimp_plugin.studies.benchmark.table import CELL_SCORES, Row, ScoredCell, Tables

TABLE, COSTS, CELLS = "table", "costs.csv", "cells.csv"
SCORES = ("accuracy", "auc", "balanced_accuracy", "macro_f1", "brier", "log_loss")
WITH_PATHS = {"predictions", "systems", "comparisons"}
"""Parts of an evaluation that name files; the tables themselves list the other methods."""

MIB = 2**20
CELL_COLUMNS = (
    *("method", "fold", "seed", "n_cases", *CELL_SCORES, "n_parameters", "n_settings"),
    *("chosen_epoch", "seconds", "predict_seconds_a_slide"),
    *("peak_memory_mib", "peak_gpu_memory_mib"),
)


def write_tables(output: Path, tables: Tables) -> None:
    """Write all tables into the folder of a comparison; unchanged files are not rewritten."""
    write_if_new(output / f"{TABLE}.md", as_markdown(tables))
    write_if_new(output / f"{TABLE}.csv", as_csv(tables))
    write_if_new(output / f"{TABLE}.json", as_json(tables))
    write_if_new(output / f"{TABLE}.tex", as_latex(tables))
    write_if_new(output / CELLS, cells_as_csv(tables))
    write_if_new(output / COSTS, costs_as_csv(tables))


def as_markdown(tables: Tables) -> str:
    """Give the report; always the same for the same cells, even after interruptions."""
    return page(_sections(tables))


def as_csv(tables: Tables) -> str:
    """Give one row per method."""
    rows = [_flat(one, tables) for one in tables.rows]
    return csv_text(rows, columns=list(rows[0]))


def as_json(tables: Tables) -> str:
    """Give the results, including all metrics."""
    found = {
        "reference": tables.reference,
        "regime": tables.regime,
        "epochs": tables.epochs,
        "folds": list(tables.folds),
        "n_folds": tables.n_folds,
        "methods": {one.method: _nested(one) for one in tables.rows},
    }
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def cells_as_csv(tables: Tables) -> str:
    """Give one row per finished cell; times and memory differ from run to run."""
    rows = [_scored(one) for one in tables.cells]
    return csv_text(rows, columns=CELL_COLUMNS)


def costs_as_markdown(tables: Tables) -> str:
    """Give times and memory, which differ from run to run."""
    header = ["method", "cells done", "training seconds a cell", "in all"]
    header += ["prediction ms a slide", "peak MiB"]
    rows = [[row["method"], str(row["n_done"]), *_shown(row)] for row in map(_costs, tables.rows)]
    return table(header, rows) + "\n"


def costs_as_csv(tables: Tables) -> str:
    """Give times and memory, one row per method."""
    rows = [_costs(one) for one in tables.rows]
    return csv_text(rows, columns=list(rows[0]))


def _sections(tables: Tables) -> Iterator[str]:
    """Parts of the report."""
    yield layout.title(tables)
    yield table(layout.header(tables), layout.cells(tables))
    spread = list(layout.spread(tables))
    if spread:
        yield "Each seed alone (lowest-highest):"
        yield table(layout.SEEDS, spread)
    yield from layout.notes(tables)
    warnings = dict.fromkeys(warning for one in tables.evaluated for warning in one.warnings)
    yield from (f"Warning: {warning}." for warning in warnings)


def _flat(row: Row, tables: Tables) -> dict[str, Any]:
    """One method as a row of the CSV; unknown values are empty."""
    found, flat = row.found, {"method": row.method, "n_cells": row.n_cells}
    flat |= _sizes(row)
    for name in ("n_cases", "n_folds", "n_seeds"):
        flat[name] = found and getattr(found, name)
    for name in SCORES:
        one = found and found.metrics[name]
        flat |= {name: one and one.value, f"{name}_low": one and one.low}
        flat[f"{name}_high"] = one and one.high
    flat |= _tests(row)
    seeds = found.by_seed.values() if found and found.by_seed else ((), ())
    for name, values in zip(TESTED, seeds, strict=True):
        flat[f"{name}_lowest_seed"] = min(values, default=None)
        flat[f"{name}_highest_seed"] = max(values, default=None)
    return flat | _paper(row, tables)


def _nested(row: Row) -> dict[str, Any]:
    """One method as an entry of the JSON."""
    found = None
    if row.found is not None:
        own = row.found.to_dict()
        found = {key: own[key] for key in own if key not in WITH_PATHS}
    printed = {
        one.table: {"row": one.row, "accuracy": one.accuracy, "cases": one.count}
        for one in row.printed
    }
    beside = {"paper": printed} if printed else {}
    return {"n_cells": row.n_cells, **_sizes(row), **_tests(row), "evaluation": found, **beside}


def _paper(row: Row, tables: Tables) -> dict[str, str]:
    """Accuracy printed in the paper and its count of cases, for each requested table."""
    flat = {}
    asked = {one.table for other in tables.rows for one in other.printed}
    for name in (name for name in SETS if name in asked):
        own = [one for one in row.printed if one.table == name]
        flat[f"paper_{name}_accuracy"] = own[0].accuracy if own else ""
        flat[f"paper_{name}_cases"] = own[0].count if own else ""
    return flat


def _tests(row: Row) -> dict[str, Any]:
    """Differences from the reference, with intervals and p-values."""
    tests: dict[str, Any] = {"test": row.tested and row.tested.test}
    for name in TESTED:
        tests[f"{name}_difference"] = row.tested and row.less_reference(name)
        ends = row.tested and row.ends_less_reference(name)
        tests[f"{name}_difference_low"], tests[f"{name}_difference_high"] = ends or (None, None)
        for p in (f"{name}_p", f"{name}_p_holm"):
            tests[p] = row.tested and getattr(row.tested, p)
    return tests


def _sizes(row: Row) -> dict[str, Any]:
    """Number of finished cells, and of trained parameters and settings per cell."""
    return {
        "n_done": len(row.costs),
        "n_parameters": row.n_parameters,
        "n_settings": row.n_settings,
    }


def _costs(row: Row) -> dict[str, Any]:
    """Cost of a method, as a row of a table."""
    each = [one.predict_seconds for one in row.costs if one.predict_seconds is not None]
    return {
        "method": row.method,
        **_sizes(row),
        "seconds_a_cell": round(row.seconds / max(1, len(row.costs)), 3),
        "seconds": round(row.seconds, 3),
        "predict_seconds_a_slide": round(mean(each), 6) if each else None,
        **_peaks(*row.costs),
    }


def _shown(row: dict[str, Any]) -> list[str]:
    """Format times and memory for people."""
    slide, peak = row["predict_seconds_a_slide"], row["peak_memory_mib"]
    return [
        *(f"{row[name]:.1f}" for name in ("seconds_a_cell", "seconds")),
        "" if slide is None else f"{1000 * slide:.1f}",
        "" if peak is None else f"{peak:.0f}",
    ]


def _scored(cell: ScoredCell) -> dict[str, Any]:
    """One cell as a row of its table."""
    cost = cell.cost
    return {
        **asdict(cell.place),
        "n_cases": cell.n_cases,
        **cell.scores,
        "n_parameters": cost.n_parameters,
        "n_settings": cost.n_settings,
        "chosen_epoch": cost.chosen_epoch,
        "seconds": round(cost.seconds, 3),
        "predict_seconds_a_slide": cost.predict_seconds and round(cost.predict_seconds, 6),
        **_peaks(cost),
    }


def _peaks(*costs: Cost) -> dict[str, float | None]:
    """Largest peak memory of some cells; None if unknown."""
    largest = {
        "peak_memory_mib": [one.peak_memory for one in costs],
        "peak_gpu_memory_mib": [one.peak_gpu_memory for one in costs],
    }
    known = {name: [one for one in own if one is not None] for name, own in largest.items()}
    return {name: round(max(own) / MIB, 1) if own else None for name, own in known.items()}
