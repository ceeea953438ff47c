"""Random tables of predictions and patients, small and with odd sizes."""

from __future__ import annotations

import numpy as np

from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.storage.predictions import write_predictions

CLASSES = ("LUAD", "LUSC")


def draw_patients(n=41, *, classes=CLASSES, seed=0, n_folds=1, skill=1.0, decimals=None):
    """Draw patients whose probabilities favour the true class; rounded ones have ties."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    scores = rng.normal(size=(n, len(classes)))
    scores[np.arange(n), labels] += skill
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    if decimals is not None:
        probabilities = probabilities.round(decimals)
        probabilities[:, 0] = 1 - probabilities[:, 1:].sum(axis=1)
    folds = [str(fold) if n_folds > 1 else "" for fold in np.sort(np.arange(n) % n_folds)]
    return Patients(
        case_ids=tuple(f"P{number}" for number in range(n)),
        classes=tuple(classes),
        labels=labels,
        predicted=probabilities.argmax(axis=1),
        probabilities=probabilities,
        folds=tuple(folds),
        modalities=("slides+genes",) * n,
    )


def rows_of(patients, *, split="test", prefix="", **changes):
    """Rows of a table, as `predict` writes them."""
    return [
        {
            "case_id": prefix + patients.case_ids[row],
            "split": split,
            "predicted": patients.classes[patients.predicted[row]],
            **{
                f"prob_{name}": float(patients.probabilities[row, place])
                for place, name in enumerate(patients.classes)
            },
            "modalities": patients.modalities[row],
            "n_slides": 1,
            "n_patches": 7,
            "gene_coverage": 1.0,
            "label": patients.classes[patients.labels[row]],
            **changes,
        }
        for row in range(len(patients))
    ]


def make_table(path, *groups, classes=CLASSES):
    """Write rows of several groups into one table."""
    rows = [row for group in groups for row in group]
    write_predictions(path, rows, classes=classes)
    return path


def make_repeats(folder, *, n=30, n_folds=3, n_repeats=2, seed=0, skill=1.0, classes=CLASSES):
    """Write tables of repeated partitions, each with all cases and a model per fold."""
    paths = []
    for repeat in range(n_repeats):
        rng = np.random.default_rng(repeat)  # the same partitions for every system
        place = rng.permutation(n) // len(classes) % n_folds
        for fold in range(n_folds):
            draw = 100 * seed + 10 * repeat + fold
            rows = rows_of(draw_patients(n, seed=draw, skill=skill, classes=classes))
            for row, own in zip(rows, place, strict=True):
                row["split"] = (
                    "test" if own == fold else ("train", "val")[row["case_id"][-1] == "7"]
                )
            path = folder / f"{seed}-r{repeat}f{fold}.csv"
            paths.append(make_table(path, rows, classes=classes))
    return paths
