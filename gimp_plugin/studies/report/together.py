"""Section on several runs: side by side, and combined if they are seeds or folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gimp_plugin.errors import ConfigError, EvaluationError
from gimp_plugin.evaluation import Evaluation, evaluate
from gimp_plugin.storage.systems import system_of
from gimp_plugin.studies.report.blocks import Name, Section, Table, said
from gimp_plugin.studies.report.cautions import of_evaluation
from gimp_plugin.studies.report.gathering import Asked, Reported
from gimp_plugin.studies.report.performance import evaluated

COLUMNS = ("accuracy", "balanced_accuracy", "auc", "calibration_error")
OF_COHORT = ("bags", "expression", "labels")
"""Names of the input hashes that seeds and folds of one system share."""


def side_by_side(found: Sequence[Reported], asked: Asked) -> tuple[tuple[Section, ...], list[str]]:
    """Show runs side by side, and combine them if they are of one system.

    Runs with different settings, labels or cases do not count as seeds, even if they predict the
    same patients: a control would spoil the mean.

    Parameters
    ----------
    found
        The runs, at least two.
    asked
        Inputs of the report.

    Returns
    -------
    The section, and warnings on the combined runs.

    Raises
    ------
    ConfigError
        If other systems are to be compared with runs of several systems.
    EvaluationError
        If other systems cannot be compared with the runs.
    """
    table = Table(
        caption="Runs side by side, each on its own test or new cases",
        header=["run", "cases", "accuracy", "balanced accuracy", "AUC", "ECE"],
        rows=[_row(one.label, one.evaluation) for one in found],
    )
    whole = _whole(found, asked)
    warnings: list[str] = []
    blocks: list[Any] = [table]
    if isinstance(whole, Evaluation):
        warnings = [f"together: {text}" for text in of_evaluation(whole)]
        blocks += [said("All together:"), *evaluated(whole)]
    else:
        blocks.append(said(f"Not taken together: {whole}."))
    return (Section("compared", "Runs side by side", tuple(blocks)),), warnings


def _whole(found: Sequence[Reported], asked: Asked) -> Evaluation | str:
    """Evaluate all runs as seeds or folds of one system, or say why that is not possible."""
    if not all(one.tables for one in found):
        return "not every run has predictions"
    if any(_system_of(one) != _system_of(found[0]) for one in found):
        reason = "they differ in more than seed and splits"
        if asked.others:
            problem = f"--compare sets others beside one system, and these runs are not: {reason}"
            raise ConfigError(problem, hint="leave --compare out, or report on one run")
        return reason
    tables = [table.path for one in found for table in one.tables]
    try:
        return evaluate(tables, others=asked.others, seed=asked.seed)
    except EvaluationError as error:
        if asked.others:
            raise
        return error.problem


def _system_of(one: Reported) -> list[Any]:
    """Properties that seeds and folds of one system share."""
    inputs = one.config.get("inputs", {})
    return [system_of(one.record), *(inputs.get(key) for key in OF_COHORT)]


def _row(label: str, found: Evaluation | None) -> list[str]:
    """Row of a run in the table of runs."""
    if found is None:
        return [Name(label), *["no predictions"] * 5]
    cases = f"{found.n_cases} {found.part}"
    return [Name(label), cases, *(str(found.metrics[column]) for column in COLUMNS)]
