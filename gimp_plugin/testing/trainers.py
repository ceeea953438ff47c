"""Check of a trainer: the three stages on a small synthetic study."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gimp_plugin.assembly.build import build_model
from gimp_plugin.assembly.device import accelerator_of
from gimp_plugin.config import GimpConfig, Runtime, load_preset
from gimp_plugin.data.cases import Case
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.plugins.protocols import TrainerMaker
from gimp_plugin.storage.bags import BagWriter, read_info
from gimp_plugin.testing.claims import SMALL, draw, require
from gimp_plugin.training.material import Material
from gimp_plugin.training.tools import Tools

N_TRAIN, N_VAL, N_GENES, FEATURE_DIM = 10, 6, 7, 5
CLASSES = ("a", "b")
FEW = {
    "genes.epochs": 2,
    "pretrain.epochs": 2,
    "pretrain.subsequence_length": 6,
    "finetune.epochs": 2,
}

State = dict[str, Tensor]


def check_trainer(make: TrainerMaker, *, config: GimpConfig | None = None) -> None:
    """Check a trainer; this takes seconds, because it trains.

    Parameters
    ----------
    make
        The registered component, called with the configuration and the tools.
    config
        Configuration of model and training; small by default.
    """
    config = config or load_preset("recommended", SMALL | FEW)
    with TemporaryDirectory() as folder:
        material = made_up_material(Path(folder))
        first, second = (
            _trained(make, config, material, Path(folder) / str(number)) for number in range(2)
        )
    for name, one in first.items():
        require(torch.equal(one, second[name]), f"one seed trained two values of {name!r}")


def made_up_material(folder: Path) -> Material:
    """Synthetic cases with both halves, whose bags are in a folder."""
    rng = np.random.default_rng(0)
    cases = []
    for row in range(N_TRAIN + N_VAL):
        path = folder / f"P{row}.h5"
        n_patches = int(rng.integers(5, 12))
        with BagWriter(path, dim=FEATURE_DIM, attributes={}) as bag:
            places = np.stack([np.arange(n_patches)] * 2, axis=1).astype(np.int32)
            bag.append(rng.normal(size=(n_patches, FEATURE_DIM)).astype(np.float16), places)
        bags = (read_info(path),)
        cases.append(Case(case_id=f"P{row}", label=row % 2, bags=bags, gene_row=row))
    return Material(
        train=tuple(cases[:N_TRAIN]),
        val=tuple(cases[N_TRAIN:]),
        genes=draw(N_TRAIN + N_VAL, N_GENES),
        classes=CLASSES,
        feature_dim=FEATURE_DIM,
    )


def _trained(make: TrainerMaker, config: GimpConfig, material: Material, folder: Path) -> State:
    """Train all stages, check each, and return the final weights."""
    folder.mkdir()
    tools = Tools(accelerator=accelerator_of(Runtime(device="cpu")), folder=folder, seed=0)
    model = _model(config)
    states = [_state(model)]
    for name in ("pretrain_genes", "pretrain"):
        _check_metrics(getattr(make(config, tools), name)(model, material), name)
        states.append(_state(model))
        _check_step(states[-2], states[-1], name)
    (folder / "finetune").mkdir()
    tools = Tools(accelerator=tools.accelerator, folder=folder / "finetune", seed=0)
    found = make(config, tools).finetune(model, material, frozen_genes=True)
    _check_metrics(found, "finetune")
    _check_step(states[-1], _state(model), "finetune")
    for name, one in _state(model).items():
        if name.startswith("gene_encoder."):
            require(torch.equal(one, states[-1][name]), f"finetune changed the frozen {name!r}")
    _check_halves(make, config, material, folder)
    return _state(model)


def _check_halves(make: TrainerMaker, config: GimpConfig, material: Material, folder: Path) -> None:
    """Check that the stage of a half that the model lacks does nothing."""
    tools = Tools(accelerator=accelerator_of(Runtime(device="cpu")), folder=folder, seed=0)
    for modalities, stage in (("slides", "pretrain_genes"), ("genes", "pretrain")):
        own = config.replace({"model.modalities": modalities})
        model = _model(own)
        before = _state(model)
        found = getattr(make(own, tools), stage)(model, material)
        same = all(torch.equal(one, before[name]) for name, one in _state(model).items())
        idle = found == {} and same
        require(idle, f"{stage} trained a model of {modalities} only, expected nothing")


def _model(config: GimpConfig) -> GimpModel:
    """A model with initial weights."""
    return build_model(
        config.model,
        n_genes=N_GENES,
        feature_dim=FEATURE_DIM,
        n_classes=len(CLASSES),
        seed=0,
        decoder=True,
    )


def _state(model: GimpModel) -> State:
    """Copy of the weights."""
    return {name: one.detach().clone() for name, one in model.state_dict().items()}


def _check_step(before: State, after: State, stage: str) -> None:
    """Check that a stage changed weights, and that all are finite."""
    changed = any(not torch.equal(one, before[name]) for name, one in after.items())
    require(changed, f"{stage} changed no weight of the model it was given")
    for name, one in after.items():
        require(torch.isfinite(one).all(), f"after {stage}, {name!r} is not finite")


def _check_metrics(found: Any, stage: str) -> None:
    """Check the metrics of each stage, by its name, as in `metrics.json`."""
    require(isinstance(found, dict) and found, f"{stage} gave {found!r}, expected metrics")
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the metrics of {stage} are not JSON: {error}") from error
    for name, one in found.items():
        known = isinstance(one, dict) and {"chosen_epoch", "epochs"} <= one.keys()
        require(known, f"the metrics of {name!r} lack chosen_epoch or epochs")
        rows = one["epochs"]
        tables = isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
        require(tables, f"the epochs of {name!r} are {rows!r}, expected numbers for each epoch")
