"""Rows of the table of predictions, one per case."""

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
    """Predict cases, and give a row of the table for each.

    Parameters
    ----------
    record, model
        The run and its model.
    study
        Holds the labels.
    cases
        The cases to predict.
    genes
        Result of `genes_of`.
    runtime
        Device and precision.

    Returns
    -------
    One mapping per case, with a value for each column of the table.

    Raises
    ------
    NotFiniteError
        If the probabilities of a case are not finite.
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
    """Remove the predicted class from rows with too low a confidence.

    Parameters
    ----------
    rows
        Result of `rows_of`; changed in place.
    record
        The run.
    below
        Lowest confidence that keeps its class; 0 keeps all.
    """
    unsure = [row for row in rows if max(row[f"prob_{name}"] for name in record.classes) < below]
    for row in unsure:
        row["predicted"] = None
    if below:
        text = "%d of %d cases have no probability of %g or more and get no class"
        logger.info(text, len(unsure), len(rows), below)


def parts_of_cases(record: RunRecord, case_ids: Sequence[str]) -> dict[str, str]:
    """Give the split of each case in the run or an ancestor; `train` takes precedence.

    Parameters
    ----------
    record
        The run.
    case_ids
        The cases.

    Returns
    -------
    `train`, `val` or `test` for each case; `new` for cases that the run has never seen.
    """
    parts = {same_case(case_id): part for case_id, part in record.parts.items()}
    for part in (keys.VAL, keys.TRAIN):
        parts |= dict.fromkeys(map(same_case, record.trained_on[part]), part)
    return {case_id: parts.get(same_case(case_id), keys.NEW) for case_id in case_ids}


def _not_finite(record: RunRecord, case: Case) -> NotFiniteError:
    """Error for a case without finite probabilities, naming the plugins in the model."""
    problem = f"run {str(record.path)!r}: the probabilities of case {case.case_id!r} are not finite"
    error = NotFiniteError(problem, hint="look at this case, or use --precision fp32")
    for kind, name in of_plugins(record.components).items():
        error.add_note(f"its {kind} comes from a plugin: {name}")
    return error
