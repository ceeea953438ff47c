"""Sections on the origin of a run: cohort, audit, splits, training, card, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.cohort.audit.findings import FINDING, OK
from gimp_plugin.storage.predictions import SPLITS as PARTS
from gimp_plugin.studies.report.blocks import Beside, Fold, Name, Plot, Table, Text, lacking, said
from gimp_plugin.studies.report.charts import Chart, Series, ticks
from gimp_plugin.studies.report.gathering import Reported
from gimp_plugin.training.card import method_of
from gimp_plugin.training.curves import panels_of

AUDIT = "gimp report RUN --adata FILE checks it here, and gimp check --adata FILE alone"
Block = Text | Table | Plot | Beside | Fold
WORDS = {OK: "ok", FINDING: "FINDING"}
STAGES = ("genes", "pretrain", "finetune")
PATHS = ("adata", "features", "labels", "slide_table", "splits")
"""Fields of a run's source that are files or folders."""


def cohort_of(one: Reported) -> tuple[Block, ...]:
    """Cases by class and part, and what was left out."""
    blocks: list[Block] = []
    parts = dict(one.record.parts)
    if one.tables:
        rows = {
            case_id: (split, table.classes[label] if label >= 0 else "")
            for table in one.tables
            for case_id, split, label in zip(
                table.case_ids, table.splits, table.labels.tolist(), strict=True
            )
        }
        counts = Counter(rows.values())
        classes = [*one.record.classes, ""]
        blocks.append(
            Table(
                caption="Predicted cases by class and part",
                header=["class", *PARTS, "all"],
                rows=[
                    [
                        Name(name) if name else "not known",
                        *(str(counts[part, name]) for part in PARTS),
                        str(sum(counts[part, name] for part in PARTS)),
                    ]
                    for name in classes
                    if any(counts[part, name] for part in PARTS)
                ],
            )
        )
    else:
        shown = ", ".join(
            f"{count} {part}" for part, count in sorted(Counter(parts.values()).items())
        )
        blocks += [
            said(f"{len(parts)} cases: {shown}.") if parts else said("The run names no case.")
        ]
        blocks += lacking("their classes", "--predictions FILE")
    return (*blocks, *_exclusions(one))


def audit_of(one: Reported) -> tuple[Block, ...]:
    """Results of `gimp check` on the cohort."""
    found = one.audited
    if found is None:
        return lacking("no cohort was given", AUDIT)
    size = f"{found.name}: {found.n_cases:,} cases, {found.n_genes:,} genes"
    n = len(found.findings)
    line = f"{n} finding{'' if n == 1 else 's'}" if n else "nothing found"
    findings = Table(
        caption="Findings",
        header=["check", "found", "why it matters", "what to do"],
        rows=[[each.check, each.found, each.why, each.remedy] for each in found.findings],
        n_texts=4,
    )
    every = Table(
        caption="What each check saw",
        header=["check", "verdict", "found"],
        rows=[
            [each.check, WORDS.get(each.verdict, each.verdict), each.found] for each in found.checks
        ],
        n_texts=3,
    )
    fold = Fold(f"All {len(found.checks)} checks", (every,))
    return (said(f"{size}; {line}."), *([findings] if n else []), fold)


def splits_of(one: Reported) -> tuple[Block, ...]:
    """Cases for training, validation and testing, and those known from ancestors."""
    record, source = one.record, one.record.source
    if not record.parts:
        return lacking("this run names no splits", "a bundle forgets them; give the run itself")
    counts = Counter(record.parts.values())
    known = {part: len(record.trained_on[part]) for part in (keys.TRAIN, keys.VAL)}
    table = Table(
        caption="Cases by part (splits.csv)",
        header=["part", "in this run", "in it or a run it came from"],
        rows=[[part, str(counts[part]), str(known.get(part, ""))] for part in keys.PARTS],
    )
    order = {part: place for place, part in enumerate(keys.PARTS)}
    given = source.get("splits")
    drawn = "drawn from the seed: 60/20/20 by case, stratified by class"
    fold = f", fold {source['fold']}" if source.get("fold") is not None else ""
    line = f"Splits: {Path(given).name}{fold}." if given else f"Splits: {drawn}."
    rows = sorted(record.parts.items(), key=lambda pair: (order.get(pair[1], 3), pair[0]))
    cases = Table(
        caption="Part of each case",
        header=["case", "part"],
        rows=[[Name(name), part] for name, part in rows],
        n_texts=2,
    )
    return (said(line), table, Fold(f"All {len(rows):,} cases", (cases,)))


def training_of(one: Reported) -> tuple[Block, ...]:
    """Learning curves of each stage."""
    blocks: list[Block] = []
    stages = one.record.metrics.get("stages", {})
    ordered = [name for name in STAGES if name in stages]
    for name in (*ordered, *(name for name in stages if name not in ordered)):
        stage = stages[name]
        plots = (Plot(chart) for chart in _charts(name, stage))
        line = f"{name}: {len(stage['epochs'])} epochs, epoch {stage['chosen_epoch']} was chosen."
        blocks += [said(line), Beside(tuple(plots))]
    if not blocks:
        return lacking("this run has no metrics", "gimp finetune writes them")
    return (
        said("Metrics that begin with val_ chose the epoch, so they flatter the model."),
        *blocks,
    )


def card_of(one: Reported) -> tuple[Block, ...]:
    """Model card of the run."""
    record, config = one.record, one.record.config
    model = config.model
    facts = {
        "kind": record.kind,
        "classes": ", ".join(record.classes),
        "reads": model.modalities.replace("+", " and "),
        "parameters": f"{record.metrics.get('n_parameters', 0):,}",
        "genes": f"{record.n_genes:,}" if record.gene_rows else "none",
        "scale of the genes": record.scale or "none",
        "patch encoder": record.encoder or "none",
        "features a patch": str(record.feature_dim),
        "temperature": f"{record.temperature:.4g}",
    }
    use = (
        "For research only: it is not a medical device, and it has not been validated for "
        "diagnosis. Figures on validation cases chose the model and flatter it."
    )
    settings = _flat(config.to_dict())
    return (
        said(use, f"Method: {method_of(model).replace('`', '')}."),
        _facts("The model", facts),
        Fold("All settings", (_facts("Settings of model and training", settings),)),
    )


def provenance_of(one: Reported) -> tuple[Block, ...]:
    """Inputs, versions and hashes; only the last part of each path."""
    noted = one.provenance
    source = {
        key: Path(value).name if key in PATHS and value else value
        for key, value in noted.get("source", {}).items()
        if value is not None
    }
    components = {
        kind: f"{part['name']} of {part['distribution']} {part['version']}"
        for kind, part in noted.get("components", {}).items()
        if {"name", "distribution", "version"} <= part.keys()
    }
    started = {f"starts {key}": value for key, value in one.config.get("start", {}).items()}
    hashes = {f"inputs: {key}": value for key, value in one.config.get("inputs", {}).items()}
    files = {f"file: {key}": value for key, value in noted.get("files", {}).items()}
    made = {"seed": one.config.get("seed"), "precision": one.config.get("precision")}
    made |= {key: noted[key] for key in ("threads", "processes") if key in noted}
    return (
        Beside(
            (
                _facts("Versions", noted.get("versions", {})),
                _facts("Inputs, by the name of the file", source),
                _facts("Components", components),
                _facts("How it was trained", made | started),
            )
        ),
        Fold(
            "Extraction of the patches", (_facts("Extraction", _flat(noted.get("extraction", {}))),)
        ),
        Fold("Hashes", (_facts("SHA-256 of inputs and files", hashes | files),)),
    )


def _exclusions(one: Reported) -> Iterator[Block]:
    """Exclusions, as counts and by name."""
    rows = one.exclusions
    if not rows:
        yield said("Nothing was left out.")
        return
    counts = Counter((row["step"], row["reason"]) for row in rows)
    yield Table(
        caption=f"Left out: {len(rows)}",
        header=["step", "reason", "how many"],
        rows=[[step, reason, str(count)] for (step, reason), count in sorted(counts.items())],
        n_texts=2,
    )
    table = Table(
        caption="Left out, by name",
        header=["case", "slide", "step", "reason"],
        rows=[
            [
                Name(row.get("case_id", "")),
                Name(row.get("slide_id", "")),
                row["step"],
                row["reason"],
            ]
            for row in rows
        ],
        n_texts=4,
    )
    yield Fold(f"All {len(rows):,} that were left out", (table,))


def _charts(name: str, stage: Mapping[str, Any]) -> Iterator[Chart]:
    """Panels of one stage."""
    epochs, chosen = stage["epochs"], stage["chosen_epoch"]
    for title, metrics in panels_of(epochs):
        lines = {
            metric: [
                (k, epoch.get(metric, float("nan"))) for k, epoch in enumerate(epochs, start=1)
            ]
            for metric in metrics
        }
        heights = ticks([y for points in lines.values() for _, y in points])
        yield Chart(
            title=f"{name}: {title}",
            alt=f"{', '.join(metrics)} by epoch, {len(epochs)} epochs; {chosen} was chosen",
            x_label="epoch (dashed: the chosen one)",
            y_label="",
            x_ticks=ticks([1, len(epochs)], whole=True),
            y_ticks=heights,
            series=[
                Series(label=metric, points=points, marked=len(epochs) <= 30)
                for metric, points in lines.items()
            ],
            guides=[((chosen, heights[0]), (chosen, heights[-1]))],
        )


def _facts(caption: str, facts: Mapping[str, Any]) -> Table | Text:
    """Table of names and values; only the last part of absolute paths."""
    if not facts:
        return said(f"{caption}: not known.")
    rows = [[str(name), Name(_told(value))] for name, value in facts.items()]
    return Table(caption=caption, header=["what", "value"], rows=rows, n_texts=2)


def _told(value: Any) -> str:
    """Text of a value; only the last part of an absolute path."""
    text = str(value)
    return Path(text).name if text.startswith(("/", "~", "\\")) or text[1:3] == ":\\" else text


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten settings of nested tables to dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in _flat(value).items()}
        else:
            found[name] = value
    return found
