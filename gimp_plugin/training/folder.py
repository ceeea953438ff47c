"""The run folder of a training: what is written to it before and after."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

import gimp_plugin
from gimp_plugin import keys
from gimp_plugin.assembly.build import components_of, origin_of
from gimp_plugin.cohort.gene_table import COLUMNS, gene_rows, with_class_means
from gimp_plugin.cohort.splitting.splits import write_splits
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.models.system import SystemModel
from gimp_plugin.storage import runs
from gimp_plugin.storage.atomic import whole_file, write_json, write_text
from gimp_plugin.storage.tables import write_csv, write_exclusions
from gimp_plugin.training.card import model_card
from gimp_plugin.training.curves import learning_curves
from gimp_plugin.training.plan import Plan, source_to_dict

PACKAGES = ("torch", "nystrom-attention", "tiatoolbox", "anndata", "accelerate", "numpy")


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a training command.

    Parameters
    ----------
    path
        The run folder.
    outcome
        `done`, or `nothing to do` when the run was complete and current.
    metrics
        Content of `metrics.json`.
    """

    path: Path
    outcome: str
    metrics: dict[str, Any]


def write_start(folder: Path, plan: Plan, *, n_processes: int) -> None:
    """Write what is known before training: where the inputs were and what was left out."""
    write_json(folder / runs.PROVENANCE, provenance(plan, n_processes=n_processes))
    write_exclusions(folder, plan.exclusions())


def write_results(
    folder: Path,
    plan: Plan,
    model: GimpModel,
    *,
    stages: Mapping[str, Any],
    class_means: NDArray[np.float32] | None,
    n_processes: int,
) -> None:
    """Write a finished run; its seal comes last.

    Parameters
    ----------
    folder
        The run folder.
    plan
        What was trained.
    model
        The trained model.
    stages
        Metrics by stage.
    class_means
        Mean standardised genes of the training cases of each class, shape (class, gene), if known.
    n_processes
        Number of processes that trained together.
    """
    tensors = {name: one.cpu().contiguous() for name, one in model.state_dict().items()}
    with whole_file(folder / runs.MODEL) as temporary:
        temporary.write_bytes(save(tensors))
    rows = _gene_rows(plan, model)
    if class_means is not None:
        rows = with_class_means(rows, class_means)
    write_csv(folder / runs.GENES, rows, columns=list(rows[0]) if rows else COLUMNS)
    write_json(folder / runs.LABELS, list(plan.classes))
    write_splits(folder / runs.SPLITS, plan.splits)
    write_json(folder / runs.CASES, dict(plan.trained_on))
    metrics = {
        "stages": dict(stages),
        "n_cases": {part: len(plan.splits.of(part)) for part in ("train", "val", "test")},
        **({"n_unlabelled": plan.n_unlabelled} if plan.n_unlabelled else {}),
        "n_parameters": sum(one.numel() for one in model.parameters()),
    }
    write_json(folder / runs.METRICS, metrics)
    with whole_file(folder / runs.CURVES) as temporary:
        temporary.write_bytes(learning_curves(stages))
    write_text(folder / runs.CARD, model_card(plan.kind, plan.config, plan.classes, metrics))
    runs.seal_run(folder, provenance(plan, n_processes=n_processes))


def provenance(plan: Plan, *, n_processes: int) -> dict[str, Any]:
    """Record where the inputs were, and what the run was made with."""
    return {
        "source": source_to_dict(plan.source),
        "scale_guessed": plan.study.cohort.scale_guessed,
        "extraction": _extraction(plan),
        "runtime": asdict(plan.runtime),
        "training_cases": {
            "labelled": len(plan.splits.of(keys.TRAIN)) - plan.n_unlabelled,
            "unlabelled": plan.n_unlabelled,
        },
        "threads": torch.get_num_threads(),
        "processes": n_processes,
        "components": {**components_of(plan.config.model), **_patch_encoder(plan)},
        "feature_readers": _feature_readers(plan),
        "versions": {
            "gimp-plugin": gimp_plugin.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
    }


def _extraction(plan: Plan) -> dict[str, Any]:
    """How the bags were made, so that new slides can be read the same way."""
    bag = next((bag for case in plan.study.cases for bag in case.bags), None)
    stored = bag and bag.attributes.get(keys.EXTRACTION_CONFIG)
    return json.loads(stored) if stored else {}


def _patch_encoder(plan: Plan) -> dict[str, dict[str, str]]:
    """Patch encoder that made the bags; empty unless it is a plugin's."""
    bag = next((bag for case in plan.study.cases for bag in case.bags), None)
    told = bag and bag.attributes.get(keys.ENCODER_PLUGIN)
    return {"patch-encoder": json.loads(told)} if told else {}


def _feature_readers(plan: Plan) -> list[dict[str, str]]:
    """Feature readers that the bags were read with."""
    layouts = sorted({bag.layout for case in plan.study.cases for bag in case.bags})
    return [origin_of("feature-reader", layout) for layout in layouts]


def _gene_rows(plan: Plan, model: GimpModel) -> list[dict[str, Any]]:
    """Rows of `genes.csv`; without gene groups all genes are in group 0."""
    if plan.transform is None:
        return []
    reader = model.system if isinstance(model, SystemModel) else model.gene_encoder
    places = range(len(plan.transform.gene_ids))
    n_in_group = getattr(reader, "genes_per_group", len(places))
    return gene_rows(plan.transform, groups=[place // n_in_group for place in places])
