"""The arms of the demonstration: one model with both halves, and its controls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.config import CohortSource, GimpConfig, Runtime, load_preset
from gimp_plugin.prediction import predict
from gimp_plugin.studies.chain import PRETRAINED, train
from gimp_plugin.studies.demo.cohort import SHUFFLED, DemoFiles

DONE, NOTHING = "done", "nothing to do"
BUDGET: dict[str, Any] = {
    "model.dim": 64,
    "model.n_heads": 4,
    "model.n_landmarks": 16,
    "genes.epochs": 20,
    "pretrain.epochs": 30,
    "pretrain.lr": 6e-3,
    "finetune.epochs": 20,
    "finetune.patience": 8,
}
"""Changes to the recommended preset, for all arms, so that the demonstration takes minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to classify the patients.

    Parameters
    ----------
    name
        Name in the table.
    folder
        Name of its run folders and its table of predictions.
    modalities
        Halves that the model has.
    label_key
        Column of the labels that it is trained on.
    """

    name: str
    folder: str
    modalities: str
    label_key: str = keys.LABEL


BOTH = Arm(name="slides + genes", folder="slides-genes", modalities=keys.BOTH)
ARMS = (
    BOTH,
    Arm(name="slides only", folder="slides", modalities=keys.SLIDES),
    Arm(name="genes only", folder="genes", modalities=keys.GENES),
    Arm(
        name="control: training labels shuffled",
        folder="shuffled",
        modalities=keys.BOTH,
        label_key=SHUFFLED,
    ),
)


@dataclass(frozen=True, slots=True)
class ArmResult:
    """Results of an arm.

    Parameters
    ----------
    run
        The fine-tuned run.
    predictions
        Its table of predictions.
    outcome
        `done`, or `nothing to do` if everything was complete and current.
    """

    run: Path
    predictions: Path
    outcome: str


def run_arm(
    arm: Arm, files: DemoFiles, *, features: Path, runtime: Runtime, changes: dict[str, Any]
) -> ArmResult:
    """Pre-train, fine-tune and predict; steps that are complete and current are skipped.

    Parameters
    ----------
    arm
        The arm to run.
    files
        The cohort.
    features
        Folder of its bags.
    runtime
        Device, precision and seed.
    changes
        Settings that differ from the recommended preset, by dotted name.

    Returns
    -------
    The fine-tuned run and its predictions.
    """
    predictions = files.folder / "predictions" / f"{arm.folder}.csv"
    source = CohortSource(
        adata=files.adata,
        features=features,
        label_key=arm.label_key,
        splits=str(files.splits),
    )
    runs = train(
        source,
        arm_config(arm, changes),
        start=PRETRAINED,
        folder=files.folder / "runs" / arm.folder,
        runtime=runtime,
    )
    predicted = predict(runs[-1].path, source, output=predictions, runtime=runtime)
    outcomes = {predicted.outcome, *(run.outcome for run in runs)}
    return ArmResult(runs[-1].path, predictions, DONE if DONE in outcomes else NOTHING)


def arm_config(arm: Arm, changes: dict[str, Any]) -> GimpConfig:
    """Configuration of an arm."""
    return load_preset("recommended", changes | {"model.modalities": arm.modalities})
