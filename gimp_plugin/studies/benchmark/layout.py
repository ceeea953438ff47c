"""Layout of the report of a comparison: the cells of its table and the sentences around it."""

from __future__ import annotations

from collections.abc import Iterator

from gimp_plugin.evaluation.markdown import folds, methods
from gimp_plugin.evaluation.text import difference, interval, p_value
from gimp_plugin.studies.benchmark.table import Row, Tables

TESTED = ("accuracy", "auc")
PAPER = "paper, accuracy"
SETTINGS = (
    "Settings: trainings of a cell, of which the validation cases chose one. Networks choose their "
    "epoch by the same cases, which is not counted, nor is what was tried before, as for a preset."
)
NOT_OURS = (
    "Paper: printed in its Tables 1 and 2 (doi 10.1007/978-3-031-43987-2_49), on its own cohort "
    "and split, not ours; it prints no AUC. In brackets the count of test cases that gives the "
    "value, of 189 or of 190; no count gives 0.9974, and its text says 0.9947."
)
SEEDS = ("method", "seeds", "accuracy", "AUC")


def title(tables: Tables) -> str:
    """Describe what was compared, and on how many cases."""
    if not tables.evaluated:
        return f"Regime {tables.regime}: no fold is done by all methods."
    found = tables.evaluated[0]
    classes = ", ".join(f"{one.n_cases} {name}" for name, one in found.by_class.items())
    line = f"{found.n_cases} {found.part} cases ({classes}), regime {tables.regime}"
    if len(tables.folds) < tables.n_folds:
        line += f", {len(tables.folds)} of {tables.n_folds} folds: the others are not done"
    elif tables.n_folds > 1:
        line += f", {folds(found)}"
    if tables.epochs is not None:
        line += f", {tables.epochs} epochs a network"
    n_seeds = max(one.n_seeds for one in tables.evaluated)
    return line + (f", probabilities of {n_seeds} seeds averaged." if n_seeds > 1 else ".")


def header(tables: Tables) -> list[str]:
    """Names of the columns."""
    name = tables.reference
    names = ["method", "accuracy (95 %)", "AUC (95 %)", f"accuracy less {name}", "p (Holm)"]
    names += [f"AUC less {name}", "p (Holm)", "parameters", "settings"]
    return [*names, PAPER] if tables.beside_the_paper else names


def cells(tables: Tables) -> Iterator[list[str]]:
    """Cells of each method, one per name in `header`."""
    for row in tables.rows:
        printed = "; ".join(dict.fromkeys(map(str, row.printed)))
        yield [*_cells(row), printed] if tables.beside_the_paper else _cells(row)


def spread(tables: Tables) -> Iterator[list[str]]:
    """Range of scores over the seeds of each method with several; columns as in `SEEDS`."""
    for row in tables.rows:
        if row.found is not None and row.found.by_seed:
            ends = [interval(min(each), max(each)) for each in row.found.by_seed.values()]
            yield [row.method, str(row.found.n_seeds), *ends]


def notes(tables: Tables) -> Iterator[str]:
    """Explain how to read the numbers."""
    if tables.evaluated:
        yield methods(tables.evaluated[0], tested=True)
    yield SETTINGS
    if tables.beside_the_paper:
        yield NOT_OURS


def _cells(row: Row) -> list[str]:
    """Cells of one method."""
    sizes = ["", ""] if not row.costs else [f"{row.n_parameters:,}", str(row.n_settings)]
    if row.found is None:
        return [row.method, f"{len(row.costs)} of {row.n_cells} cells done", *[""] * 5, *sizes]
    pairs = [["", ""]] * 2
    if row.tested is not None:
        pairs = [
            [
                difference(row.less_reference(name), row.ends_less_reference(name)),
                p_value(getattr(row.tested, f"{name}_p_holm")),
            ]
            for name in TESTED
        ]
    scores = [str(row.found.metrics[name]) for name in TESTED]
    whole = len(row.costs) == row.n_cells
    name = row.method if whole else f"{row.method} ({len(row.costs)} of {row.n_cells} cells)"
    return [name, *scores, *pairs[0], *pairs[1], *sizes]
