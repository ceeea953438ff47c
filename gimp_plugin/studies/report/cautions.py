"""Warnings that the reader of the page must know before trusting a number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gimp_plugin
from gimp_plugin.cohort.audit.expression import SCALE
from gimp_plugin.errors import counted
from gimp_plugin.evaluation import Evaluation
from gimp_plugin.keys import GENES
from gimp_plugin.storage.predictions import note_of
from gimp_plugin.storage.tables import FAILURES
from gimp_plugin.studies.explanation.folder import read_record
from gimp_plugin.studies.report.explained import measured_of, rows_of
from gimp_plugin.studies.report.gathering import Reported
from gimp_plugin.training.doubts import doubts_of_pretraining

WIDE = 0.2
"""Width of the interval of the accuracy above which there are too few cases."""
SHARED = 0.5
"""Share of the top genes below which the runs do not agree."""
SCORES = ("attention", "attribution", "occlusion", GENES)


def warnings_of(one: Reported, *, compared: bool) -> Iterator[str]:
    """Warn of everything that weakens the figures, the most serious first.

    Parameters
    ----------
    one
        The run and what is known about it.
    compared
        Whether it is compared with other systems.

    Yields
    ------
    Sentences without a full stop.
    """
    yield from _of_performance(one, compared=compared)
    if one.audited is not None:
        for each in one.audited.findings:
            yield f"gimp check, {each.check}: {each.found}"
    yield from _of_run(one)
    if one.explanation is not None:
        yield from _of_explanation(one.explanation)


def of_evaluation(found: Evaluation) -> Iterator[str]:
    """Warn of figures that rest on few cases, or on the wrong ones."""
    accuracy = found.metrics["accuracy"]
    low, high = accuracy.low, accuracy.high
    if low is not None and high is not None and high - low > WIDE:
        ends = f"{low:.2f} and {high:.2f}"
        yield f"few cases: {found.n_cases} {found.part} cases, the accuracy may lie between {ends}"
    yield from found.warnings


def _of_performance(one: Reported, *, compared: bool) -> Iterator[str]:
    """Warn of missing or weak figures."""
    if one.evaluation is None:
        yield "no predictions were given: nothing here says how well other cases are predicted"
        return
    yield from of_evaluation(one.evaluation)
    if not compared:
        yield "no baseline or control to compare these figures with (--compare)"
    for table in one.tables:
        if "model" not in note_of(table.path):
            yield f"{table.path.name!r} does not say which run made it"


def _of_run(one: Reported) -> Iterator[str]:
    """Warn of problems in how the run was made."""
    record, stages = one.record, one.record.metrics.get("stages", {})
    if one.exclusions:
        yield f"{len(one.exclusions)} cases or slides were left out of the training's cohort"
    if "finetune" in stages and not stages["finetune"].get("calibration", {}).get("fitted"):
        yield "the probabilities are not calibrated: no temperature was fitted on validation cases"
    if "pretrain" in stages:
        last = stages["pretrain"]["epochs"][-1]
        weight = record.config.pretrain.reconstruction_weight
        yield from doubts_of_pretraining(last, weight=weight)
    if "untrained" in record.encoder:
        yield f"the patch encoder {record.encoder!r} is untrained: its features are for tests only"
    scale = _guessed_scale(one)
    if scale:
        yield f"the scale of the expression is guessed: {scale!r} (--scale sets it)"
    made = one.config.get("version")
    if made != gimp_plugin.__version__:
        yield f"the run was made by gimp-plugin {made}, this page by {gimp_plugin.__version__}"


def _guessed_scale(one: Reported) -> str:
    """Scale of the expression if it was guessed, else empty; for older runs, ask the audit."""
    noted = one.provenance.get("scale_guessed")
    if noted is not None:
        return one.record.scale if noted else ""
    if one.audited is None or one.record.source.get("scale") is not None:
        return ""
    numbers = one.audited.of(SCALE).numbers
    return "" if numbers.get("declared") else numbers.get("scale") or ""


def _of_explanation(folder: Path) -> Iterator[str]:
    """Warn of maps that are not faithful, and of failures of the explanation."""
    record = read_record(folder)
    if record is not None and not record["complete"]:
        yield "the explanation is not complete: run the same gimp explain command again"
    failures = rows_of(folder, FAILURES, "item")
    if failures:
        yield f"{counted(len(failures), 'item')} could not be explained or drawn"
    measured = measured_of(folder)
    if not measured:
        yield "it was not measured whether the maps are true to the model"
    for score in SCORES:
        ends = [measured.get(f"{way}_{score}", {}).get("low") for way in ("insertion", "deletion")]
        if any(end is not None and end <= 0 for end in ends):
            what = f"attributions of {GENES}" if score == GENES else f"maps of {score}"
            yield f"{what} are no better than random order, so they explain no prediction"
    shared = measured.get("stability_top_genes", {}).get("mean")
    if shared is not None and shared < SHARED:
        yield f"other runs share {shared:.0%} of the top genes of a case: one of several answers"
