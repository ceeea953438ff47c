"""Inputs besides runs and cases: slides, truth, gene sets; checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gimp_plugin.errors import (
    CheckpointError,
    CohortError,
    MissingFileError,
    did_you_mean,
    listed,
)
from gimp_plugin.slides.finding import find_slides
from gimp_plugin.studies.explanation.inputs import Inputs
from gimp_plugin.studies.explanation.truth import check_truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Optional inputs of an explanation besides runs and cases.

    Parameters
    ----------
    slides
        Slides, and folders of slides, for the pictures.
    truth
        Folder with the true kind of the patches.
    gene_sets
        A GMT file.
    site_key
        Column of the cohort with the hospital of each case.
    """

    slides: tuple[Path, ...] = ()
    truth: Path | None = None
    gene_sets: Path | None = None
    site_key: str = ""


def check_beside(beside: Beside, inputs: Inputs) -> dict[str, Path]:
    """Check the inputs besides runs and cases.

    Parameters
    ----------
    beside
        The inputs to check.
    inputs
        Runs and cases.

    Returns
    -------
    Slides of the cases by slide_id.

    Raises
    ------
    CohortError
        If the cohort has no such column, or the gene sets cannot be read.
    CheckpointError
        If slides or truth are given and the run has no slides.
    MissingFileError
        If a folder has no file for these cases.
    """
    bags = [bag for case in inputs.cases for bag in case.bags]
    if beside.site_key and beside.site_key not in inputs.study.obs:
        known = list(map(str, inputs.study.obs.columns))
        problem = (
            f"the cohort has no column {beside.site_key!r}{did_you_mean(beside.site_key, known)}"
        )
        raise CohortError(problem, hint=f"it has {listed(known)}")
    if beside.gene_sets is not None:
        from gimp_plugin.cohort.grouping.gene_sets import read_gmt

        read_gmt(beside.gene_sets)
    if beside.truth is not None:
        check_truth(beside.truth, bags)
    if (beside.truth or beside.slides) and not inputs.main.record.config.model.has_slides:
        problem = f"run {str(inputs.main.record.path)!r} was trained on genes only"
        raise CheckpointError(problem, hint="leave --slides and --truth out")
    if not beside.slides:
        return {}
    wanted = {bag.slide_id for bag in bags}
    found = {one.slide_id: one.path for one in find_slides(beside.slides)}
    slides = {name: path for name, path in found.items() if name in wanted}
    if not slides:
        problem = f"{listed(map(str, beside.slides))} holds none of {len(wanted)} slides"
        raise MissingFileError(
            problem, hint=f"expected for instance {listed(sorted(wanted), limit=2)}"
        )
    return slides
