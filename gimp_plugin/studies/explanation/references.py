"""References for genes: the start of their attribution path, for each run and class."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.assembly.load import transform_of
from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.gene_table import class_means_of_rows
from gimp_plugin.config.explanation import MEAN, OTHER, ExplainConfig
from gimp_plugin.errors import CheckpointError, listed
from gimp_plugin.explain.genes import means_of_others
from gimp_plugin.storage.runs import GENES, RunRecord

logger = logging.getLogger(__name__)


def references_of(
    records: Sequence[RunRecord], cohort: Cohort, config: ExplainConfig
) -> list[NDArray[np.float32] | None]:
    """Determine the start of the path of the genes for each run.

    A gene that the cohort lacks counts as average in every case and also starts there, so that it
    contributes nothing.

    Parameters
    ----------
    records
        Runs that read genes.
    cohort
        The genes of the cases.
    config
        Settings of the explanation.

    Returns
    -------
    Standardised expression by class, shape (class, gene), for each run. All are None, which means
    the mean of all training cases, if that is asked for or if any run has no class means.
    """
    if config.gene_reference != OTHER:
        return [None] * len(records)
    means = [_class_means(record) for record in records]
    lacking = [str(record.path) for record, own in zip(records, means, strict=True) if own is None]
    if lacking:
        text = (
            "%s does not have the mean genes of each class (an older run, or a class of very few "
            "training cases): genes are compared with the mean of all training cases, as with "
            "--gene-reference %s"
        )
        logger.warning(text, listed(lacking), MEAN)
        return [None] * len(records)
    found: list[NDArray[np.float32] | None] = []
    for record, own in zip(records, means, strict=True):
        transform = transform_of(record)
        if own is None or transform is None:
            raise RuntimeError("a run with class means has genes")
        measured = transform.match(cohort).columns >= 0
        found.append(np.where(measured, means_of_others(own), np.float32(0)))
    return found


def _class_means(record: RunRecord) -> NDArray[np.float32] | None:
    """Mean of the training cases of each class, as stored in the run; None if it has none."""
    try:
        return class_means_of_rows(record.gene_rows, n_classes=len(record.classes))
    except CheckpointError as error:
        problem = f"{str(record.path / GENES)!r}: {error.problem}"
        raise CheckpointError(problem, hint=error.hint) from error
