"""Warnings: what the reader of the page must know before a number is believed."""

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

WIDE = 0.2
"""Width of the interval of the accuracy above which it says little."""
SHARED = 0.5
"""Share of the top genes below which the runs do not agree."""
SCORES = ("attention", "attribution", "occlusion", GENES)


def warnings_of(one: Reported, *, compared: bool) -> Iterator[str]:
    """Warn of what weakens the figures, the gravest first.

    Parameters
    ----------
    one
        The run and what is known of it.
    compared
        Whether other systems stand beside it.

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
    """Warn of figures that rest on little, or on the wrong cases."""
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
        yield "no baseline or control stands beside these figures (--compare)"
    for table in one.tables:
        if "model" not in note_of(table.path):
            yield f"{table.path.name!r} does not say which run made it"


def _of_run(one: Reported) -> Iterator[str]:
    """Warn of how the run was made."""
    record, stages = one.record, one.record.metrics.get("stages", {})
    if one.exclusions:
        yield f"{len(one.exclusions)} cases or slides were left out of the training's cohort"
    if "finetune" in stages and not stages["finetune"].get("calibration", {}).get("fitted"):
        yield "the probabilities are not calibrated: no temperature was fitted on validation cases"
    if "untrained" in record.encoder:
        yield f"the patch encoder {record.encoder!r} is untrained: its features are for tests only"
    scale = _guessed_scale(one)
    if scale:
        yield f"the scale of the expression is guessed: {scale!r} (--scale says it)"
    made = one.config.get("version")
    if made != gimp_plugin.__version__:
        yield f"the run was made by gimp-plugin {made}, this page by {gimp_plugin.__version__}"


def _guessed_scale(one: Reported) -> str:
    """Scale that nobody declared; empty where it was. Older runs do not say, the audit may."""
    noted = one.provenance.get("scale_guessed")
    if noted is not None:
        return one.record.scale if noted else ""
    if one.audited is None or one.record.source.get("scale") is not None:
        return ""
    numbers = one.audited.of(SCALE).numbers
    return "" if numbers.get("declared") else numbers.get("scale") or ""


def _of_explanation(folder: Path) -> Iterator[str]:
    """Warn of maps that are not true, and of what could not be explained."""
    record = read_record(folder)
    if record is not None and not record["complete"]:
        yield "the explanation is not complete: give gimp explain the same command again"
    failures = rows_of(folder, FAILURES, "item")
    if failures:
        yield f"{counted(len(failures), 'item')} could not be explained or drawn"
    measured = measured_of(folder)
    if not measured:
        yield "whether the maps are true to the model was not measured"
    for score in SCORES:
        ends = [measured.get(f"{way}_{score}", {}).get("low") for way in ("insertion", "deletion")]
        if any(end is not None and end <= 0 for end in ends):
            what = f"attributions of {GENES}" if score == GENES else f"maps of {score}"
            yield f"{what} are no better than random order: no reason for a prediction"
    shared = measured.get("stability_top_genes", {}).get("mean")
    if shared is not None and shared < SHARED:
        yield f"other runs share {shared:.0%} of the top genes of a case: one answer of several"
