"""Loading the model of a run, to predict or to continue training."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from gimp_plugin.assembly.build import build_model, code_of, parts_of
from gimp_plugin.cohort.gene_table import transform_of_rows
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.data.study import encoder_text
from gimp_plugin.errors import CheckpointError, PluginError
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.plugins import registry
from gimp_plugin.plugins.manager import is_ours
from gimp_plugin.storage.runs import GENES, RunRecord, read_run

logger = logging.getLogger(__name__)


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
    PluginError
        If a component that it needs is not installed, or is from another distribution.
    """
    record = read_run(path)
    for kind, name in parts_of(record.config.model).items():
        check_component(record, kind, name)
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


def load_classifier(path: Path) -> tuple[RunRecord, GimpModel]:
    """Load a fine-tuned run, which can predict classes.

    Parameters
    ----------
    path
        The run folder.

    Returns
    -------
    As `load_run`.

    Raises
    ------
    CheckpointError
        If the run is not fine-tuned, or as for `load_run`.
    """
    record, model = load_run(path)
    if record.kind != "finetune":
        problem = f"run {str(path)!r} is a {record.kind} run: it has no trained classifier"
        raise CheckpointError(problem, hint="fine-tune it first, with gimp finetune --from")
    return record, model


def check_component(record: RunRecord, kind: str, name: str) -> None:
    """Refuse a run whose component is not installed; warn if the component has changed.

    Parameters
    ----------
    record
        The run.
    kind, name
        Kind and name of a component that it was made with.

    Raises
    ------
    PluginError
        If the component is not installed, or is from another distribution.
    """
    noted = record.components.get(kind, {})
    distribution, version = noted.get("distribution"), noted.get("version")
    found = registry()
    part = next((one for one in found.components if (one.kind, one.name) == (kind, name)), None)
    if part is not None and distribution in {None, part.distribution}:
        if version not in {None, part.version} and not is_ours(part.origin):
            text = "run %r was made with %s of %s %s, version %s is installed"
            logger.warning(text, str(record.path), part.title, distribution, version, part.version)
        elif noted.get("code") not in {None, code_of(part.target)}:
            text = "run %r was made with %s of %s %s, whose code has been changed since"
            logger.warning(text, str(record.path), part.title, distribution, version)
        return
    whose = f"of {distribution} {version}" if distribution else "of a plugin"
    problem = f"run {str(record.path)!r} needs the {kind.replace('-', ' ')} {name!r} {whose}"
    if part is not None:
        problem = f"{problem}, but the installed one is of {part.distribution} {part.version}"
        hint = f"install {distribution}, and leave {part.distribution} out"
        raise PluginError(problem, hint=hint)
    hints = [f"install {distribution or 'the plugin that provides it'}", *map(str, found.failures)]
    hints += [f"plugin {origin} is disabled" for origin in found.disabled]
    raise PluginError(f"{problem}, which is not available", hint="; ".join(hints))


def transform_of(record: RunRecord) -> GeneTransform | None:
    """Gene transform fitted on a run's training cases; None for a run without genes."""
    if not (record.gene_rows or record.config.model.has_genes):
        return None
    try:
        return transform_of_rows(record.gene_rows, scale=record.scale)
    except CheckpointError as error:
        problem = f"{str(record.path / GENES)!r}: {error.problem}"
        raise CheckpointError(problem, hint=error.hint) from error


def check_bags(record: RunRecord, *, feature_dim: int, encoder: str) -> None:
    """Refuse bags of another encoder than the run's.

    Parameters
    ----------
    record
        The run.
    feature_dim, encoder
        Feature dimension and encoder of the bags; a dimension of 0 means that there are no bags.

    Raises
    ------
    CheckpointError
        If the run was trained on others.
    """
    wanted, found = (record.feature_dim, record.encoder), (feature_dim, encoder)
    if feature_dim and found != wanted:
        problem = (
            f"run {str(record.path)!r} was trained on {wanted[0]}-d features of "
            f"{encoder_text(wanted[1])}, the bags are {found[0]}-d of {encoder_text(found[1])}"
        )
        raise CheckpointError(problem, hint="extract features with the run's encoder")
