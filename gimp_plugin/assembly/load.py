"""The model of a run, ready to predict or to train on."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from gimp_plugin.assembly.build import build_model
from gimp_plugin.cohort.gene_table import transform_of_rows
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.data.study import encoder_text
from gimp_plugin.errors import CheckpointError
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.storage.runs import RunRecord, read_run


def load_run(path: Path) -> tuple[RunRecord, GimpModel]:
    """Load a finished run.

    Parameters
    ----------
    path
        The run folder.

    Returns
    -------
    The record of the run, and its model on the CPU in evaluation mode.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    CheckpointError
        If the run is unfinished or damaged, or its weights do not fit its configuration.
    ConfigError
        If a component that it needs is not registered.
    """
    record = read_run(path)
    transform = transform_of(record)
    model = build_model(
        record.config.model,
        n_genes=0 if transform is None else len(transform.gene_ids),
        feature_dim=record.feature_dim,
        n_classes=len(record.classes),
        seed=0,
        decoder=record.kind == "pretrain",
    )
    try:
        model.load_state_dict(load_file(record.weights))
    except (RuntimeError, SafetensorError) as error:
        problem = f"weights {str(record.weights)!r} do not fit the run's configuration: {error}"
        raise CheckpointError(problem) from error
    return record, model.eval()


def transform_of(record: RunRecord) -> GeneTransform | None:
    """Gene transform that was fitted on a run's training cases; None for a run without genes."""
    if not record.gene_rows:
        return None
    return transform_of_rows(record.gene_rows, scale=record.scale)


def check_bags(record: RunRecord, *, feature_dim: int, encoder: str) -> None:
    """Refuse bags of another encoder than the run's.

    Parameters
    ----------
    record
        The run.
    feature_dim, encoder
        Of the bags; a dimension of 0 means that there are none.

    Raises
    ------
    CheckpointError
        If they are not those that the run was trained on.
    """
    wanted, found = (record.feature_dim, record.encoder), (feature_dim, encoder)
    if feature_dim and found != wanted:
        problem = (
            f"run {str(record.path)!r} was trained on {wanted[0]}-d features of "
            f"{encoder_text(wanted[1])}, the bags are {found[0]}-d of {encoder_text(found[1])}"
        )
        raise CheckpointError(problem, hint="extract features with the run's encoder")
