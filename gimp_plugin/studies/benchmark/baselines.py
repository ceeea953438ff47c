"""Methods without a network of their own: logistic regression and late fusion."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gimp_plugin import keys
from gimp_plugin.storage.predictions import read_predictions
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.folder import PREDICTIONS, Cost
from gimp_plugin.training.plan import fitted_transform

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Values of C, chosen between on the validation cases."""

MAX_ITERATIONS = 5000
Floats = NDArray[np.float64]


def logistic(cell: Cell, *, modalities: str) -> Cost:
    """Train logistic regression on genes, on the mean of all patches, or on both concatenated.

    Inputs are standardised with the training cases. C is chosen like the epoch of fine-tuning: by
    balanced accuracy on the validation cases, then by the lower loss; the smallest if tied.

    Parameters
    ----------
    cell
        The cell.
    modalities
        Halves to read.

    Returns
    -------
    The cost of the training.
    """
    inputs = np.hstack(list(_halves(cell, modalities)))
    study = cell.study
    labels = np.array([case.label for case in study.with_classes(cell.inputs.classes)])
    train, val = cell.rows_of(keys.TRAIN), cell.rows_of(keys.VAL)
    started = time.monotonic()
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=MAX_ITERATIONS))
        for strength in STRENGTHS
    ]
    for model in models:
        model.fit(inputs[train], labels[train])
    best = max(models, key=lambda model: _score(model, inputs[val], labels[val]))
    seconds = time.monotonic() - started
    cell.write(best.predict_proba(inputs), modalities=modalities)
    weights = best[-1]
    return Cost(
        n_parameters=weights.coef_.size + weights.intercept_.size,
        n_settings=len(STRENGTHS),
        seconds=seconds,
    )


def late_fusion(cell: Cell) -> Cost:
    """Average the logits of logistic regression on genes and of ABMIL on slides.

    Logits are the logarithms of the probabilities; their mean is converted back to probabilities.

    Parameters
    ----------
    cell
        The cell.

    Returns
    -------
    The cost of training both.
    """
    (genes, genes_cost), (slides, slides_cost) = map(cell.beside, ("logistic-genes", "abmil"))
    logits = np.mean([_logits(cell, folder / PREDICTIONS) for folder in (genes, slides)], axis=0)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    cell.write(odds / odds.sum(axis=1, keepdims=True), modalities=keys.BOTH)
    return genes_cost + slides_cost


def _halves(cell: Cell, modalities: str) -> Iterator[Floats]:
    """Inputs of every case of the study, by half."""
    study = cell.study
    if "genes" in modalities:
        changes = {"model.modalities": keys.GENES, "model.gene_grouping": "file-order"}
        config, seed = cell.config.replace(changes), cell.runtime.seed
        transform = fitted_transform(study, cell.splits, config, seed=seed)
        if transform is not None:
            rows = [case.gene_row for case in study.cases]
            yield transform.apply(study.cohort)[0][rows].astype(np.float64)
    if "slides" in modalities:
        yield cell.inputs.bag_means


def _score(model: Any, inputs: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Balanced accuracy, then the negative loss."""
    probabilities = model.predict_proba(inputs)
    accuracy = balanced_accuracy_score(labels, probabilities.argmax(axis=1))
    return float(accuracy), -float(log_loss(labels, probabilities, labels=model.classes_))


def _logits(cell: Cell, path: Path) -> Floats:
    """Logarithms of the probabilities in a table, for the cases of the study."""
    table = read_predictions(path)
    row_of = {case_id: row for row, case_id in enumerate(table.case_ids)}
    # A case without a part may be missing; its value here is never written.
    rows = [row_of.get(case_id, 0) for case_id in cell.inputs.study.case_ids]
    return np.log(np.maximum(table.probabilities[rows], np.finfo(np.float64).tiny))
