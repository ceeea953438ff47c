"""The gene table of a run, `genes.csv`: the genes its model reads, their order and scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.transform import CLIP, STD_FLOOR, GeneTransform
from gimp_plugin.errors import CheckpointError

COLUMNS = ("id", "order", "mean", "std", "group", "name")
CLASS_MEAN = "class_mean_"
"""Columns of class means end with the number of the class, because its name could be anything."""


def gene_rows(transform: GeneTransform, *, groups: Sequence[int]) -> list[dict[str, Any]]:
    """Make the rows of `genes.csv`; its numbers read back bit for bit.

    Parameters
    ----------
    transform
        The model's gene transform.
    groups
        Group of each gene, in the order of the model.

    Returns
    -------
    One row per gene, with the keys of `COLUMNS`. A gene that the model does not read, but that
    counts towards the totals, has only its id and other name.
    """
    n_genes, left = len(transform.gene_ids), transform.unselected
    names = transform.names or ("",) * (n_genes + len(left))
    mean, std = transform.mean.tolist(), transform.std.tolist()
    rows = [
        dict(
            zip(COLUMNS, (gene_id, place, repr(own_mean), repr(own_std), group, name), strict=True)
        )
        for place, (gene_id, own_mean, own_std, group, name) in enumerate(
            zip(transform.gene_ids, mean, std, groups, names[:n_genes], strict=True)
        )
    ]
    return rows + [
        dict.fromkeys(COLUMNS, "") | {"id": gene_id, "name": name}
        for gene_id, name in zip(left, names[n_genes:], strict=True)
    ]


def with_class_means(
    rows: Sequence[Mapping[str, Any]], class_means: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """Add the mean of the training cases of each class.

    Parameters
    ----------
    rows
        Result of `gene_rows`.
    class_means
        Means of the standardised values, shape (class, gene), the genes in the order of the model.

    Returns
    -------
    The rows with one more column per class, empty for genes that the model does not read.
    """
    texts = class_means.astype(str).tolist()  # the shortest text that reads back bit for bit
    return [
        {**row, **{f"{CLASS_MEAN}{place}": _at(own, row) for place, own in enumerate(texts)}}
        for row in rows
    ]


def _at(values: Sequence[str], row: Mapping[str, Any]) -> str:
    """Value for the gene of a row; empty if the model does not read it."""
    return "" if row["order"] == "" else values[int(row["order"])]


def class_means_of_rows(
    rows: Sequence[Mapping[str, Any]], *, n_classes: int
) -> NDArray[np.float32] | None:
    """Read the class means that `with_class_means` added.

    Parameters
    ----------
    rows
        Rows of a `genes.csv` whose column of places is known to be complete, in any order.
    n_classes
        Classes of the run.

    Returns
    -------
    Shape (class, gene); None if the table does not have them.

    Raises
    ------
    CheckpointError
        If it has them only for some classes or genes, or a value is not a number.
    """
    if not any(name.startswith(CLASS_MEAN) for row in rows for name in row):
        return None
    ordered = sorted((row for row in rows if row["order"] != ""), key=lambda row: int(row["order"]))
    try:
        means = np.array(
            [[row[f"{CLASS_MEAN}{place}"] for row in ordered] for place in range(n_classes)]
        ).astype(np.float32)
    except (KeyError, ValueError) as error:
        problem = f"the gene table of the run is damaged: {error!r}"
        raise CheckpointError(problem, hint="use an undamaged run") from error
    if not np.isfinite(means).all():
        problem = f"the gene table of the run is damaged: a {CLASS_MEAN}... is not a number"
        raise CheckpointError(problem, hint="use an undamaged run")
    return means


def transform_of_rows(
    rows: Sequence[Mapping[str, Any]], *, scale: str, clip: float = CLIP
) -> GeneTransform:
    """Make the gene transform from the rows of `gene_rows`.

    Parameters
    ----------
    rows
        Rows of a `genes.csv`, in any order.
    scale, clip
        As in `GeneTransform`; the run's configuration has them.

    Returns
    -------
    The transform.

    Raises
    ------
    CheckpointError
        If a column or a gene is missing or repeated, or a value is not a number.
    """
    try:
        left = [row for row in rows if row["order"] == ""]
        ordered = sorted(
            (row for row in rows if row["order"] != ""), key=lambda row: int(row["order"])
        )
        places = [int(row["order"]) for row in ordered]
        gene_ids = tuple(str(row["id"]) for row in ordered)
        mean = np.array([float(row["mean"]) for row in ordered])
        std = np.array([float(row["std"]) for row in ordered])
        unselected = tuple(str(row["id"]) for row in left)
        names = tuple(str(row.get("name", "")) for row in [*ordered, *left])
    except (KeyError, ValueError, TypeError) as error:
        problem = f"the gene table of the run is damaged: {error!r}"
        raise CheckpointError(problem, hint=f"it has the columns {', '.join(COLUMNS)}") from error
    whole = places == list(range(len(places))) and len(set(gene_ids)) == len(gene_ids)
    if not (whole and places and np.isfinite(mean).all() and (std >= STD_FLOOR).all()):
        what = "genes are missing or repeated, or values are not numbers"
        problem = f"the gene table of the run is damaged: {what}"
        raise CheckpointError(problem, hint="use an undamaged run")
    return GeneTransform(
        gene_ids=gene_ids,
        mean=mean,
        std=std,
        scale=scale,
        names=names,
        unselected=unselected,
        clip=clip,
    )
