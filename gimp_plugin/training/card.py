"""The model card: what a run is for and how well it did, for whoever finds the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gimp_plugin.config import GimpConfig, ModelConfig
from gimp_plugin.storage.runs import CURVES

TEXT = """\
# GiMP run: {kind}

{what} {classes} using {modalities}, by {method},
trained with gimp-plugin.

For research only: it is not a medical device, and it has not been validated for diagnosis.

- Cases: {train} for training{unlabelled}, {val} for validation, {test} for testing (`splits.csv`).
- Parameters: {n_parameters:,}.
- Components: {components}.

| stage | epochs | chosen | metrics of the chosen epoch |
|---|---|---|---|
{stages}

![Learning curves]({curves})

{calibration}\
{next}
"""
WHAT = {
    "pretrain": "The pre-trained part of a model that will distinguish",
    "finetune": "A model that distinguishes",
}
NEXT = {
    "pretrain": """\
These figures are from pre-training. The model does not classify yet, and `gimp predict` cannot
use it: `gimp finetune --from RUN`, with this folder as RUN, continues from it.""",
    "finetune": """\
The validation figures above chose the epoch, so they flatter the model. `gimp predict` and
`gimp evaluate` give figures with intervals on cases that it was not fitted on.""",
}


def model_card(
    kind: str, config: GimpConfig, classes: Sequence[str], metrics: Mapping[str, Any]
) -> str:
    """Write the model card of a run, in Markdown.

    Parameters
    ----------
    kind
        `pretrain` or `finetune`.
    config
        Model and training.
    classes
        Class names.
    metrics
        Content of `metrics.json`.

    Returns
    -------
    The text of the card.
    """
    model, n_bare = config.model, metrics.get("n_unlabelled", 0)
    parts = {"system": model.system}
    if not model.system:
        parts |= {"gene encoder": model.gene_encoder if model.has_genes else ""}
        parts |= {"aggregator": model.aggregator if model.has_slides else ""}
        parts |= {"fusion": model.fusion, "head": model.head}
    parts |= {"trainer": model.trainer}
    return TEXT.format(
        kind=kind,
        what=WHAT[kind],
        next=NEXT[kind],
        classes=" and ".join(plain(name) for name in classes),
        modalities=model.modalities.replace("+", " and "),
        method=method_of(model),
        components=", ".join(f"{part} `{name}`" for part, name in parts.items() if name),
        n_parameters=metrics["n_parameters"],
        stages="\n".join(stage_row(name, stage) for name, stage in metrics["stages"].items()),
        curves=CURVES,
        unlabelled=f" ({n_bare} without a class)" if n_bare else "",
        calibration="".join(map(_calibration, metrics["stages"].values())),
        **metrics["n_cases"],
    )


def method_of(model: ModelConfig) -> str:
    """Name the method of a model."""
    if model.system:
        return f"the system `{model.system}`, which has no part of GiMP"
    return (
        "Gene-induced Multimodal Pre-training (GiMP, MICCAI 2023, doi:10.1007/978-3-031-43987-2_49)"
    )


def stage_row(name: str, stage: Mapping[str, Any]) -> str:
    """Give one stage as a row of the card's table."""
    chosen = stage["epochs"][stage["chosen_epoch"] - 1]
    values = ", ".join(f"{key} {value:.4g}" for key, value in sorted(chosen.items()))
    return f"| {name} | {len(stage['epochs'])} | {stage['chosen_epoch']} | {values} |"


def _calibration(stage: Mapping[str, Any]) -> str:
    """Paragraph on the temperature of the probabilities; empty for a stage without one."""
    if "calibration" not in stage:
        return ""
    temperature = stage["calibration"]["temperature"]
    return f"Temperature of the probabilities: {temperature:.4g} (`metrics.json` has its fit).\n\n"


def plain(text: str) -> str:
    """Put spaces in place of all characters of a name that Markdown or HTML could interpret."""
    return "".join(letter if letter.isalnum() or letter in " -_.+" else " " for letter in text)
