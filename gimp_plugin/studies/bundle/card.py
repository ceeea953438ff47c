"""The card of a bundle: what the model is for, what it was trained on, and how well it did.

It follows the model cards of the Hugging Face hub: a front matter in YAML, then Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gimp_plugin import keys
from gimp_plugin.assembly.build import components_of, of_plugins, parts_of
from gimp_plugin.config import ExtractionConfig
from gimp_plugin.data.study import encoder_text
from gimp_plugin.evaluation import Evaluation
from gimp_plugin.evaluation.text import number, table
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.training.card import method_of, plain, stage_row

HUB_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "lgpl-3.0",
    "mpl-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
)  # fmt: skip
"""Licence names that the hub knows; others are `other` there, with a name."""
COHORTS = {
    keys.TEST: "held-out test cases of the training cohort",
    keys.NEW: "cases outside of the training cohort",
}

TEXT = """\
# {title}: {classes}, from {halves}

Gives the probability of each of these classes from {halves} of a patient, by
{method},
trained with gimp-plugin.

## Intended use

Research on patients like those it was trained on, of one of these classes. It is not a medical
device, it has not been validated for diagnosis, and it always names one of its classes, even for
a patient with another disease.

```python
from gimp_plugin import GimpModel

model = GimpModel.from_pretrained("this-folder")
model.predict({inputs}, output="predictions.csv")
```

The same on the command line: `gimp predict --model this-folder` with the same inputs.

## Data

{data}

- Cases: {train} for training, {val} for validation, {test} for testing.
{reads}

## Metrics

{held_out}

Chosen on the validation cases, so these figures flatter the model:

| stage | epochs | chosen | metrics of the chosen epoch |
|---|---|---|---|
{stages}

## What is in this folder, and what is not

Weights, configuration, classes, and of each gene its name and the mean and standard deviation of
the training cases. No case, slide or path of the training is named. So `gimp predict` marks
every case as `new`, a training case, too: whoever evaluates this model has to know that the
patients are not those it was trained on. The patch encoder is not in this folder, either; its
weights have a licence of their own.

- Components: {components}.
- Parameters: {n_parameters:,}.

## Licence

{licence}
"""


def bundle_card(record: RunRecord, found: Evaluation | None, *, licence: str, data: str) -> str:
    """Write the card of a bundle.

    Parameters
    ----------
    record
        The run.
    found
        Evaluation of its predictions, if there is one.
    licence, data
        What the user says about the model and the training cases; may be empty.

    Returns
    -------
    The text of the card.
    """
    used = record.components or components_of(record.config.model)
    text = TEXT.format(
        title=record.config.model.system or "GiMP",
        classes=" or ".join(map(plain, record.classes)),
        halves=record.config.model.modalities.replace("+", " and "),
        method=method_of(record.config.model),
        inputs=", ".join(_inputs(record)),
        data=_line(data) or "Whoever exported this model did not say what the cases are.",
        reads="\n".join(_reads(record)),
        held_out=_held_out(found),
        stages="\n".join(stage_row(*stage) for stage in record.metrics["stages"].items()),
        components=", ".join(
            f"{kind} `{one['name']}` of {_distribution(one)}" for kind, one in used.items()
        )
        + _needed(record, used),
        n_parameters=record.metrics["n_parameters"],
        licence=_line(licence) or "Whoever exported this model did not state a licence.",
        **record.metrics["n_cases"],
    )
    facts = _front_matter(record, found, licence=_line(licence))
    # JSON is valid YAML, and text from a user cannot break out of it.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    return "\n".join(["---", *lines, "---", "", text])


def _front_matter(record: RunRecord, found: Evaluation | None, *, licence: str) -> dict[str, Any]:
    """Front matter for hubs; no licence if none is stated."""
    model = record.config.model
    task = "image-classification" if model.has_slides else "tabular-classification"
    facts: dict[str, Any] = {"library_name": "gimp-plugin", "pipeline_tag": task}
    facts["tags"] = ["gimp", "pathology", "classification"]
    facts["tags"] += ["whole-slide-image", "tiatoolbox"] if model.has_slides else []
    facts["tags"] += ["gene-expression"] if model.has_genes else []
    if licence.lower() in HUB_LICENCES:
        facts["license"] = licence.lower()
    elif licence:
        facts |= {"license": "other", "license_name": licence}
    if found is not None:
        facts["metrics"] = list(found.metrics)
        values = [
            {"type": name, "value": round(one.value, 4), "name": f"{name}: {one}, 95 % interval"}
            for name, one in found.metrics.items()
        ]
        dataset = {"type": "cohort", "name": COHORTS[found.part]}
        results = [{"task": {"type": task}, "dataset": dataset, "metrics": values}]
        facts["model-index"] = [{"name": "GiMP", "results": results}]
    return facts


def _inputs(record: RunRecord) -> Iterator[str]:
    """Arguments of a prediction."""
    if record.config.model.has_genes:
        yield 'adata="genes.h5ad"'
    if record.config.model.has_slides:
        yield 'features="features"'


def _reads(record: RunRecord) -> Iterator[str]:
    """What the model reads of a case."""
    if record.config.model.has_slides:
        made = record.extraction
        how = "{patch_size} px at mpp={mpp}".format_map(ExtractionConfig().to_dict() | made)
        how = f", patches of {how}" if made else ""
        yield f"- Slides: {record.feature_dim} features a patch of {_code(record.encoder)}{how}."
    if record.config.model.has_genes:
        yield f"- Expression: {record.n_genes} genes on the scale `{record.scale}`."


def _distribution(component: Mapping[str, str]) -> str:
    """Name and version of a component's distribution."""
    return f"{component['distribution']} {component['version']}"


def _needed(record: RunRecord, used: Mapping[str, Mapping[str, str]]) -> str:
    """Name the packages to install for predicting, besides this one."""
    kinds = parts_of(record.config.model).keys() & of_plugins(used).keys()
    needed = sorted({_distribution(used[kind]) for kind in kinds})
    return f". To predict, install {', '.join(needed)}, too" if needed else ""


def _held_out(found: Evaluation | None) -> str:
    """Metrics of cases that the model was not fitted on."""
    if found is None:
        return "No metrics of held-out cases were given when this model was exported."
    halves = ", ".join(f"{one.n_cases} {name}" for name, one in found.by_modalities.items())
    classes = ", ".join(f"{one.n_cases} {plain(name)}" for name, one in found.by_class.items())
    rows = [
        (name.replace("_", " "), number(one.value), str(one).partition(" ")[2].strip("()"))
        for name, one in found.metrics.items()
    ]
    title = f"{found.n_cases} {COHORTS[found.part]} ({classes}; predicted from: {halves})."
    tables = table(["metric", "value", "95 % interval"], rows)
    warnings = (" ".join(plain(text).split()) for text in found.warnings)
    return "\n\n".join([title, tables, *(f"Warning: {text}." for text in warnings)])


def _code(encoder: str) -> str:
    """Give the encoder's name as code."""
    return f"`{encoder.replace('`', ' ')}`" if encoder else encoder_text(encoder)


def _line(text: str) -> str:
    """Put text from a user on one line, without HTML or control characters."""
    shown = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return shown.replace("<", "\\<")
