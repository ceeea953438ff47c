"""The whole demonstration: slides and genes in, an evaluation table out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gimp_plugin.config import ExtractionConfig, Runtime
from gimp_plugin.errors import SlideError
from gimp_plugin.evaluation import Evaluation, evaluate
from gimp_plugin.slides.encoders import find_encoder
from gimp_plugin.slides.extraction import ExtractionResult, extract_features
from gimp_plugin.storage.atomic import write_text
from gimp_plugin.studies.demo.arms import ARMS, BUDGET, DONE, NOTHING, ArmResult, run_arm
from gimp_plugin.studies.demo.cohort import DemoFiles, write_cohort
from gimp_plugin.studies.demo.report import as_markdown

logger = logging.getLogger(__name__)

N_CASES = 120
PATCH_ENCODER = "efficientnet-lite0"
TABLE = "evaluation.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Result of the demonstration.

    Parameters
    ----------
    folder
        Folder of all files.
    evaluations
        Evaluation of each arm on the test cases, by the arm's name.
    table
        The evaluation table, in Markdown.
    outcome
        `done`, or `nothing to do` if everything except the evaluation was already there.
    seconds
        Time that it took.
    """

    folder: Path
    evaluations: Mapping[str, Evaluation]
    table: str
    outcome: str
    seconds: float


def run_demo(
    folder: Path,
    *,
    runtime: Runtime | None = None,
    n_cases: int = N_CASES,
    patch_encoder: str = PATCH_ENCODER,
    changes: Mapping[str, Any] | None = None,
) -> DemoResult:
    """Make a cohort and run the whole workflow of `gimp` on it, with controls.

    The same call resumes an interrupted demonstration; a complete one is only evaluated again.

    Parameters
    ----------
    folder
        Folder of all files: new, empty, or with an earlier demonstration.
    runtime
        Device, precision and seed.
    n_cases
        Number of patients, with one slide each.
    patch_encoder
        Name of a registered patch encoder.
    changes
        Settings in addition to `arms.BUDGET`, by dotted name.

    Returns
    -------
    The evaluations.

    Raises
    ------
    ResourceError
        If the patch encoder's packages are not installed.
    StaleOutputError
        If the folder holds something else.
    SlideError
        If a slide cannot be read.
    """
    start, runtime = time.monotonic(), runtime or Runtime()
    extraction = ExtractionConfig(patch_encoder=patch_encoder)
    find_encoder(extraction, offline=True)  # fails before anything is written
    logger.info("1/3 cohort of %d patients in %s", n_cases, folder)
    files = write_cohort(folder, n_cases=n_cases, seed=runtime.seed)
    logger.info("2/3 patch features, by %s", patch_encoder)
    features, budget = folder / "features", {**BUDGET, **(changes or {})}
    with _one_thread():
        extracted = _extracted(files, extraction, output=features, runtime=runtime)
        results = {}
        for number, arm in enumerate(ARMS, start=1):
            logger.info("3/3 training and prediction, %d of %d: %s", number, len(ARMS), arm.name)
            results[arm.name] = run_arm(
                arm, files, features=features, runtime=runtime, changes=budget
            )
    evaluations = _evaluations(results, seed=runtime.seed)
    table = as_markdown(evaluations)
    write_text(folder / TABLE, table)
    worked = extracted.done or any(one.outcome == DONE for one in results.values())
    return DemoResult(
        folder=folder,
        evaluations=evaluations,
        table=table,
        outcome=DONE if worked else NOTHING,
        seconds=time.monotonic() - start,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread.

    Slides are read in another process, and with such a small model more threads only wait for each
    other: on a busy machine with two cores they took twice as long. One thread also gives the same
    numbers for any number of cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _extracted(
    files: DemoFiles, config: ExtractionConfig, *, output: Path, runtime: Runtime
) -> ExtractionResult:
    """Make the bags; all slides are our own, so none may fail."""
    found = extract_features([files.slides], config, output=output, runtime=runtime)
    if found.failures:
        failed = found.failures[0]
        raise SlideError(f"{failed.item}: {failed.message}", hint="remove the slide and try again")
    return found


def _evaluations(results: Mapping[str, ArmResult], *, seed: int) -> dict[str, Evaluation]:
    """Evaluate all arms on the test cases, the first one also against the others."""
    first, *others = results
    rivals = [results[name].predictions for name in others]
    return {
        name: evaluate(
            one.predictions, model=one.run, others=rivals if name == first else (), seed=seed
        )
        for name, one in results.items()
    }
