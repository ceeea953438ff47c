"""Methods that are networks: GiMP as a whole and in part, ABMIL, and the controls of GiMP."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gimp_plugin import keys
from gimp_plugin.cohort.splitting.splits import Splits
from gimp_plugin.config import CohortSource
from gimp_plugin.prediction import predict
from gimp_plugin.storage.runs import LOG
from gimp_plugin.storage.tables import read_csv, write_csv
from gimp_plugin.studies.benchmark.budget import shared
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.folder import Cost
from gimp_plugin.studies.chain import FINETUNE, train
from gimp_plugin.training.unlabelled import labels_at_hand

ABMIL = {"model.modalities": keys.SLIDES, "model.aggregator": "abmil"}
LABEL_TABLE, SLIDE_TABLE = "labels.csv", "slides.csv"


def network(
    cell: Cell,
    *,
    start: str,
    changes: Mapping[str, Any],
    learned_from: CohortSource | None = None,
) -> Cost:
    """Train a model with the cell's configuration, and predict.

    Parameters
    ----------
    cell
        The cell.
    start
        As for `studies.chain.train`.
    changes
        Settings that differ from the configuration of the comparison, by dotted name.
    learned_from
        Source of the training cases, if it differs from that of the prediction.

    Returns
    -------
    The cost of the training.
    """
    config = cell.config.replace(changes)
    if cell.epochs is not None:
        config = shared(config, start=start, epochs=cell.epochs)
    runs = train(
        learned_from or cell.source,
        config,
        start=start,
        folder=cell.folder,
        runtime=cell.runtime,
    )
    run = runs[-1]
    started = time.monotonic()
    predict(run.path, cell.source, output=cell.predictions, runtime=cell.runtime, missing="drop")
    seconds = time.monotonic() - started
    n_slides = sum(int(row["n_slides"]) for row in read_csv(cell.predictions))
    return Cost(
        n_parameters=run.metrics["n_parameters"],
        n_settings=1,
        seconds=sum(trained_seconds(one.path) for one in runs),
        chosen_epoch=run.metrics["stages"]["finetune"]["chosen_epoch"],
        predict_seconds=seconds / n_slides if n_slides else None,
    )


def trained_seconds(run: Path) -> float:
    """Seconds of all epochs of a run, from its log; a repeated epoch counts once."""
    lines = (run / LOG).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return sum({(one["stage"], one["epoch"]): one["seconds"] for one in records}.values())


def shuffled(cell: Cell) -> Cost:
    """Train on labels without information; the test cases keep their own labels.

    Parameters
    ----------
    cell
        The cell.

    Returns
    -------
    The cost of the training.
    """
    labels = labels_at_hand(cell.study)
    drawn = shuffled_labels(labels, cell.splits, seed=cell.runtime.seed)
    rows = [{keys.CASE_ID: case_id, keys.LABEL: label} for case_id, label in drawn.items()]
    write_csv(cell.folder / LABEL_TABLE, rows, columns=[keys.CASE_ID, keys.LABEL])
    source = replace(
        _with_slides(cell, {case_id: case_id for case_id in labels}),
        labels=cell.folder / LABEL_TABLE,
        case_key=keys.CASE_ID,
        label_key=keys.LABEL,
    )
    return network(cell, start="genes", changes={}, learned_from=source)


def shuffled_labels(labels: Mapping[str, str], splits: Splits, *, seed: int) -> dict[str, str]:
    """Give training and validation cases labels that are independent of the true ones.

    The training cases of each true class get the labels of all classes in equal shares. A plain
    permutation would agree with the truth slightly more or less than half the time, and if the
    classes are the main difference between patients, a model learns from that small excess. The few
    validation cases, which only choose an epoch, exchange their labels, so that no class is lost.

    Parameters
    ----------
    labels
        Class by case id.
    splits
        Part of each case.
    seed
        Seed of the draw, together with the name of the fold.

    Returns
    -------
    The new classes, in the order of `labels`.
    """
    rng = np.random.default_rng([seed, zlib.crc32(splits.fold.encode())])
    new, classes = dict(labels), sorted(set(labels.values()))
    for name in classes:
        members = [case_id for case_id in splits.of(keys.TRAIN) if labels[case_id] == name]
        shares = np.resize(classes, len(members)).tolist()
        new |= dict(zip(rng.permutation(members).tolist(), shares, strict=True))
    val = splits.of(keys.VAL)
    exchanged = rng.permutation([labels[case_id] for case_id in val]).tolist()
    return new | dict(zip(val, exchanged, strict=True))


def swapped(cell: Cell) -> Cost:
    """Predict the test cases from each other's slides, with the GiMP of the same fold and seed.

    Parameters
    ----------
    cell
        The cell.

    Returns
    -------
    The cost of training that GiMP.
    """
    folder, cost = cell.beside("gimp")
    test = list(cell.splits.of(keys.TEST))
    order = np.random.default_rng(cell.runtime.seed).permutation(test).tolist()
    donor = dict(zip(order, np.roll(order, 1).tolist(), strict=True))
    source = _with_slides(cell, donor)
    predict(
        folder / FINETUNE, source, output=cell.predictions, runtime=cell.runtime, missing="drop"
    )
    return cost


def _with_slides(cell: Cell, new_case: Mapping[str, str]) -> CohortSource:
    """Source of the cell's cases with a slide table, in which cases may have others' slides."""
    rows = [
        {keys.SLIDE_ID: bag.slide_id, keys.CASE_ID: new_case.get(case.case_id, case.case_id)}
        for case in cell.inputs.study.cases
        for bag in case.bags
    ]
    table = cell.folder / SLIDE_TABLE
    write_csv(table, rows, columns=[keys.SLIDE_ID, keys.CASE_ID])
    return replace(cell.source, slide_table=table)
