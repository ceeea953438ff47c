"""Rows of the table of predictions: what a run's model makes of each case."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from gimp_plugin import keys
from gimp_plugin.assembly.build import of_plugins
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import Study
from gimp_plugin.errors import NotFiniteError
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.prediction.encoding import each_case
from gimp_plugin.prediction.halves import modalities_of
from gimp_plugin.storage.runs import RunRecord

logger = logging.getLogger(__name__)


def rows_of(
    record: RunRecord,
    model: GimpModel,
    study: Study,
    cases: list[Case],
    *,
    genes: tuple[torch.Tensor, float] | None,
    runtime: Runtime,
) -> list[dict[str, Any]]:
    """Predict cases, and lay out a row for each.

    Parameters
    ----------
    record, model
        The run, and the model that it holds.
    study
        Where the labels are.
    cases
        The cases that are predicted.
    genes
        What `genes_of` gave.
    runtime
        Device and precision.

    Returns
    -------
    One mapping a case, with a value for each column of the table.

    Raises
    ------
    NotFiniteError
        If the model gives a case no finite probabilities.
    """
    values, coverage = genes or (None, None)
    parts = parts_of_cases(record, [case.case_id for case in cases])
    rows = []
    encoded = each_case(
        model,
        cases,
        genes=values,
        give=model.classify,
        runtime=runtime,
        title="predict",
    )
    for case, logits in encoded:
        probabilities = (logits.double() / record.temperature).softmax(dim=0)
        if not bool(probabilities.isfinite().all()):
            raise _not_finite(record, case)
        rows.append(
            {
                "case_id": case.case_id,
                "split": parts[case.case_id],
                "predicted": record.classes[int(logits.argmax())],
                **{
                    f"prob_{name}": float(probability)
                    for name, probability in zip(record.classes, probabilities, strict=True)
                },
                "modalities": modalities_of(case),
                "n_slides": len(case.bags),
                "n_patches": case.n_patches,
                "gene_coverage": coverage if case.has_genes else None,
                "label": study.labels.get(case.case_id),
            }
        )
    return rows


def abstain(rows: list[dict[str, Any]], record: RunRecord, *, below: float) -> None:
    """Take the class from rows that are not sure enough of it.

    Parameters
    ----------
    rows
        As `rows_of` gave them; they are changed.
    record
        The run.
    below
        Least probability of a class; 0 leaves all.
    """
    unsure = [row for row in rows if max(row[f"prob_{name}"] for name in record.classes) < below]
    for row in unsure:
        row["predicted"] = None
    if below:
        text = "%d of %d cases have no probability of %g or more and get no class"
        logger.info(text, len(unsure), len(rows), below)


def parts_of_cases(record: RunRecord, case_ids: Sequence[str]) -> dict[str, str]:
    """Split of each case as the run or an ancestor knows it; being trained on weighs most.

    Parameters
    ----------
    record
        The run.
    case_ids
        The cases.

    Returns
    -------
    `train`, `val` or `test` of each, `new` for those that it does not know.
    """
    parts = {same_case(case_id): part for case_id, part in record.parts.items()}
    for part in (keys.VAL, keys.TRAIN):
        parts |= dict.fromkeys(map(same_case, record.trained_on[part]), part)
    return {case_id: parts.get(same_case(case_id), keys.NEW) for case_id in case_ids}


def _not_finite(record: RunRecord, case: Case) -> NotFiniteError:
    """Error for a case that a model has no answer for, which names the plugins that are in it."""
    problem = f"run {str(record.path)!r} gives case {case.case_id!r} no finite probabilities"
    error = NotFiniteError(problem, hint="look at this case, or use --precision fp32")
    for kind, name in of_plugins(record.components).items():
        error.add_note(f"its {kind} is a plugin's: {name}")
    return error
