"""Turn a run into a model bundle: what prediction needs, and nothing about a patient."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from gimp_plugin import keys
from gimp_plugin.assembly.load import load_classifier
from gimp_plugin.config.sources import PORTABLE
from gimp_plugin.errors import CheckpointError, EvaluationError
from gimp_plugin.evaluation import Evaluation, evaluate
from gimp_plugin.storage import runs
from gimp_plugin.storage.atomic import json_text
from gimp_plugin.storage.bundles import sealed, write_bundle
from gimp_plugin.storage.predictions import MODEL, TABLE_SHA256, note_of, sidecar, was_edited
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.studies.bundle.card import bundle_card
from gimp_plugin.training.plan import without_folder

# Lists of what is exported, so that nothing new in a run is ever exported by accident.
IDENTITY = ("kind", "version", "seed", "precision", "feature_dim", "encoder", "scale")
SOURCE = ("case_key", "label_key", "layer", "scale", "missing", "slide_samples", "slide_kind")
MADE_WITH = ("components", "scale_guessed", "versions")
METRICS = ("n_cases", "n_parameters")
STAGE = ("epochs", "chosen_epoch", "calibration")
EVALUATION = (
    "part", "n_cases", "n_unlabelled", "n_abstained", "metrics", "by_class", "by_modalities",
    "draws", "seed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Result of an export.

    Parameters
    ----------
    path
        The folder of the bundle.
    outcome
        `done`, or `nothing to do` if the same bundle was already there.
    """

    path: Path
    outcome: str


def export(
    run: Path,
    *,
    output: Path,
    predictions: Path | None = None,
    licence: str = "",
    data: str = "",
    overwrite: bool = False,
) -> ExportResult:
    """Write the model of a fine-tuned run as a folder in the layout of the Hugging Face hub.

    The bundle predicts like the run. It names no case, slide or path of the training, so it cannot
    distinguish a training case from a new one.

    Parameters
    ----------
    run
        A fine-tuned run.
    output
        The folder to write.
    predictions
        A table predicted by this run: the card shows the metrics of its test cases, or else of its
        new cases, with intervals.
    licence
        Licence of the model, for the card; by default the card says that none is stated.
    data
        Description of the training cases, for the card.
    overwrite
        Replace another bundle.

    Returns
    -------
    The result of the export.

    Raises
    ------
    CheckpointError
        If the run is not fine-tuned, is damaged, or is a bundle already.
    EvaluationError
        If the predictions are not from this run, or cannot be evaluated.
    StaleOutputError
        If `output` holds something else.
    """
    record, _ = load_classifier(run)
    if record.bundled:
        problem = f"{str(run)!r} is already a model bundle"
        raise CheckpointError(problem, hint="copy it, or give the run that it was made from")
    found = None if predictions is None else _evaluated(record, predictions)
    files = {
        runs.CONFIG: json_text(_config(record)).encode(),
        runs.MODEL: save(load_file(record.weights), metadata={"format": "pt"}),
        runs.GENES: (run / runs.GENES).read_bytes(),
        runs.LABELS: (run / runs.LABELS).read_bytes(),
        runs.METRICS: json_text(_metrics(record, found)).encode(),
        runs.CARD: bundle_card(record, found, licence=licence, data=data).encode(),
    }
    provenance = _json(run / runs.PROVENANCE)
    facts = {
        **_only(provenance, MADE_WITH),
        "source": _only(record.source, SOURCE),
        "extraction": _only(record.extraction, PORTABLE),
    }
    written = write_bundle(output, sealed(files, facts), overwrite=overwrite)
    return ExportResult(output, "done" if written else "nothing to do")


def _config(record: RunRecord) -> dict[str, Any]:
    """Content of `config.json`, as in the run but without the hashes of its inputs."""
    stored = _json(record.path / runs.CONFIG)
    return {
        keys.FORMAT: keys.BUNDLE_FORMAT,
        keys.FORMAT_VERSION: keys.BUNDLE_FORMAT_VERSION,
        "model_type": "gimp",
        "architectures": ["GimpModel"],
        **_only(stored, IDENTITY),
        "config": without_folder(record.config).to_dict(),
    }


def _metrics(record: RunRecord, found: Evaluation | None) -> dict[str, Any]:
    """Content of `metrics.json`, as in the run, with the evaluation if there is one."""
    stages = {name: _only(stage, STAGE) for name, stage in record.metrics["stages"].items()}
    metrics = {**_only(record.metrics, METRICS), "stages": stages}
    if found is not None:
        metrics["evaluation"] = _only(found.to_dict(), EVALUATION)
    return metrics


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Keep only the listed values."""
    return {key: value for key, value in values.items() if key in names}


def _evaluated(record: RunRecord, predictions: Path) -> Evaluation:
    """Evaluate a table of predictions; refuse one not known to be this run's."""
    found = evaluate(predictions, model=record.path)
    beside, note = repr(str(sidecar(predictions))), note_of(predictions)
    if note.get(MODEL) is None:  # a table of another run was refused above
        problem = f"{beside} does not say that {str(predictions)!r} was predicted by run "
        problem += repr(str(record.path))
        raise EvaluationError(problem, hint="predict with that run again, and give the new table")
    again = "predict again, with --overwrite, and give the new table"
    if TABLE_SHA256 not in note:
        problem = f"{beside} has no {TABLE_SHA256!r}: nothing says that {str(predictions)!r} is "
        raise EvaluationError(f"{problem}the table that it describes", hint=again)
    if was_edited(predictions):
        problem = f"{str(predictions)!r} is not the table that {beside} was written for"
        raise EvaluationError(problem, hint=again)
    return found


def _json(path: Path) -> Any:
    """Content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
