"""The tables of a comparison: for people in Markdown, for programs in CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gimp_plugin.evaluation.markdown import METHODS as INTERVALS
from gimp_plugin.evaluation.markdown import TESTS
from gimp_plugin.evaluation.text import interval, p_value, page, table
from gimp_plugin.storage.tables import csv_text
from gimp_plugin.studies.benchmark.folder import write_if_new
from gimp_plugin.studies.benchmark.table import Row, Tables

TABLE, COSTS = "table", "costs.csv"
SCORES = ("accuracy", "auc", "balanced_accuracy", "macro_f1", "brier", "log_loss")
TESTED = ("accuracy", "auc")
SETTINGS = (
    "Settings: trainings of a cell, of which the validation cases chose one. Networks choose their "
    "epoch by the same cases, which is not counted."
)


def write_tables(output: Path, tables: Tables) -> None:
    """Write all tables into the folder of a comparison; a file that would not change stays."""
    write_if_new(output / f"{TABLE}.md", as_markdown(tables))
    write_if_new(output / f"{TABLE}.csv", as_csv(tables))
    write_if_new(output / f"{TABLE}.json", as_json(tables))
    write_if_new(output / COSTS, costs_as_csv(tables))


def as_markdown(tables: Tables) -> str:
    """Give what was found; the same for the same cells, however often they were interrupted."""
    return page(_sections(tables))


def as_csv(tables: Tables) -> str:
    """Give one row a method."""
    rows = [_flat(one) for one in tables.rows]
    return csv_text(rows, columns=list(rows[0]))


def as_json(tables: Tables) -> str:
    """Give what was found, all metrics included."""
    found = {
        "reference": tables.reference,
        "regime": tables.regime,
        "folds": list(tables.folds),
        "n_folds": tables.n_folds,
        "methods": {one.method: _nested(one) for one in tables.rows},
    }
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def costs_as_markdown(tables: Tables) -> str:
    """Give the training times, which differ from run to run."""
    rows = (
        [one.method, str(len(one.costs)), *(f"{seconds:.1f}" for seconds in _seconds(one))]
        for one in tables.rows
    )
    return table(["method", "cells done", "training seconds a cell", "in all"], rows) + "\n"


def costs_as_csv(tables: Tables) -> str:
    """Give the training times, one row a method."""
    columns = ("method", "n_done", "n_parameters", "n_settings", "seconds_a_cell", "seconds")
    rows = [
        dict(zip(columns, [one.method, *_sizes(one).values(), *_seconds(one)], strict=True))
        for one in tables.rows
    ]
    return csv_text(rows, columns=columns)


def _sections(tables: Tables) -> Iterator[str]:
    """Parts of the report."""
    name, evaluated = tables.reference, tables.evaluated
    yield _title(tables)
    header = ["method", "accuracy (95 %)", "AUC (95 %)", f"accuracy less {name}", "p (Holm)"]
    header += [f"AUC less {name}", "p (Holm)", "parameters", "settings"]
    yield table(header, (_cells(one) for one in tables.rows))
    spread = list(_spread(tables))
    if spread:
        yield "Each seed alone (lowest-highest):"
        yield table(["method", "seeds", "accuracy", "AUC"], spread)
    if evaluated:
        yield f"{INTERVALS} ({evaluated[0].draws:,} draws, seed {evaluated[0].seed}). {TESTS}."
    yield SETTINGS
    warnings = dict.fromkeys(warning for one in evaluated for warning in one.warnings)
    yield from (f"Warning: {warning}." for warning in warnings)


def _title(tables: Tables) -> str:
    """What was compared, on how many."""
    if not tables.evaluated:
        return f"Regime {tables.regime}: no fold is done by all methods."
    found = tables.evaluated[0]
    classes = ", ".join(f"{one.n_cases} {name}" for name, one in found.by_class.items())
    line = f"{found.n_cases} {found.part} cases ({classes}), regime {tables.regime}"
    if len(tables.folds) < tables.n_folds:
        line += f", {len(tables.folds)} of {tables.n_folds} folds: the others are not done"
    elif tables.n_folds > 1:
        line += f", {tables.n_folds} folds"
    n_seeds = max(one.n_seeds for one in tables.evaluated)
    return line + (f", probabilities of {n_seeds} seeds averaged." if n_seeds > 1 else ".")


def _cells(row: Row) -> list[str]:
    """One method as people see it."""
    sizes = ["", ""] if not row.costs else [f"{row.n_parameters:,}", str(row.n_settings)]
    if row.found is None:
        return [row.method, f"{len(row.costs)} of {row.n_cells} cells done", *[""] * 5, *sizes]
    tests = _tests(row)
    pairs = [
        [f"{tests[f'{name}_difference']:+.3f}", p_value(tests[f"{name}_p_holm"])]
        for name in TESTED
        if row.tested is not None
    ] or [["", ""]] * 2
    scores = [str(row.found.metrics[name]) for name in TESTED]
    whole = len(row.costs) == row.n_cells
    name = row.method if whole else f"{row.method} ({len(row.costs)} of {row.n_cells} cells)"
    return [name, *scores, *pairs[0], *pairs[1], *sizes]


def _spread(tables: Tables) -> Iterator[list[str]]:
    """Scores of the seeds of each method that has several."""
    for row in tables.rows:
        if row.found is not None and row.found.by_seed:
            ends = [interval(min(each), max(each)) for each in row.found.by_seed.values()]
            yield [row.method, str(row.found.n_seeds), *ends]


def _flat(row: Row) -> dict[str, Any]:
    """One method as a row of the CSV; what is not known is empty."""
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
    return flat


def _nested(row: Row) -> dict[str, Any]:
    """One method as JSON has it."""
    found = None
    if row.found is not None:
        own = row.found.to_dict()
        found = {key: own[key] for key in own if key not in {"predictions", "comparisons"}}
    return {"n_cells": row.n_cells, **_sizes(row), **_tests(row), "evaluation": found}


def _tests(row: Row) -> dict[str, Any]:
    """The method less the reference, and how surprising that is."""
    one, tests = row.tested, {}
    for name in TESTED:
        difference = one and 0 - getattr(one, f"{name}_difference")
        tests[f"{name}_difference"] = difference
        for p in (f"{name}_p", f"{name}_p_holm"):
            tests[p] = one and getattr(one, p)
    return tests


def _sizes(row: Row) -> dict[str, Any]:
    """Cells that are done, and what a cell trains."""
    return {
        "n_done": len(row.costs),
        "n_parameters": row.n_parameters,
        "n_settings": row.n_settings,
    }


def _seconds(row: Row) -> tuple[float, float]:
    """Training seconds a cell and in all."""
    return round(row.seconds / max(1, len(row.costs)), 3), round(row.seconds, 3)
