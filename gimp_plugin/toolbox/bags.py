"""From the slides or bags that a user gives an engine to the cases of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gimp_plugin.assembly.load import check_bags, transform_of
from gimp_plugin.cohort.expression import Cohort, read_cohort
from gimp_plugin.cohort.slide_table import read_slide_table
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.config.sources import MIN_GENE_COVERAGE
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import prepare
from gimp_plugin.errors import BagError, ConfigError, MissingFileError, SlideError, counted, listed
from gimp_plugin.prediction import extract_for
from gimp_plugin.prediction.halves import predictable
from gimp_plugin.prediction.new_slides import why
from gimp_plugin.prediction.predict import genes_of
from gimp_plugin.slides.finding import find_slides
from gimp_plugin.storage.bags import BagInfo, bag_paths, read_info, suffixes
from gimp_plugin.storage.runs import RunRecord

if TYPE_CHECKING:
    import anndata

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Inputs of a prediction besides the slides.

    Parameters
    ----------
    adata
        Genes of the cases: an .h5ad file, or an AnnData on the scale of the training; None without
        genes.
    layer, scale
        As for `gimp predict`.
    slide_table
        CSV `slide_id,case_id`; by default, slides are matched to cases by name and TCGA barcode. A
        column `mpp` is the resolution of slides that do not state theirs.
    min_gene_coverage
        Least share of the run's genes that the AnnData must have.
    weights
        Weights file of the patch encoder, if it does not find its own.
    slide_mpp
        Resolution of slides that do not state theirs; 0 if unknown.
    masks
        Folder with a mask for each slide, if the run's own bags were made with masks.
    offline
        Whether not to download weights.
    """

    adata: anndata.AnnData | Path | str | None = None
    layer: str | None = None
    scale: str | None = None
    slide_table: Path | str | None = None
    min_gene_coverage: float = MIN_GENE_COVERAGE
    weights: Path | str | None = None
    slide_mpp: float = 0.0
    masks: Path | str | None = None
    offline: bool = False

    def checked(self, record: RunRecord) -> Cohort | None:
        """Read the genes, if any, and check that the run can use them and the slide table.

        Parameters
        ----------
        record
            The run.

        Returns
        -------
        The genes; None if there are none.

        Raises
        ------
        GimpError
            As for `gimp predict`.
        """
        if self.slide_table is not None:
            read_slide_table(Path(self.slide_table))
        if self.adata is None:
            return None
        if isinstance(self.adata, (str, Path)):
            cohort = read_cohort(Path(self.adata), layer=self.layer, scale=self.scale)
        elif hasattr(self.adata, "obs_names"):
            cohort = Cohort.from_anndata(self.adata, layer=self.layer, scale=self.scale)
        else:
            kind = type(self.adata).__name__
            raise ConfigError(f"adata is {kind}, expected an .h5ad file or an AnnData")
        transform = transform_of(record)
        if transform is not None:
            transform.apply(cohort, min_coverage=self.min_gene_coverage)
        return cohort


@dataclass(frozen=True, slots=True)
class Images:
    """Images that a user gave, not yet read.

    Parameters
    ----------
    bags
        Bags by slide_id.
    slides
        Slides and folders of slides.
    slide_ids
        Ids of these slides.
    """

    bags: dict[str, BagInfo]
    slides: tuple[Path, ...]
    slide_ids: tuple[str, ...]


def look_at(paths: Sequence[Path]) -> Images:
    """Sort images into bags and slides.

    Parameters
    ----------
    paths
        Bags, slides, and folders of either.

    Returns
    -------
    The images.

    Raises
    ------
    BagError
        If two images are of the same slide, or one is a damaged bag.
    MissingFileError
        If an image does not exist.
    SlideError
        If an image is neither a bag nor a slide.
    """
    bags: dict[str, BagInfo] = {}
    slides = []
    for image in paths:
        if not image.exists():
            raise MissingFileError(f"no slide or bag {str(image)!r}", hint="check the path")
        found = _bags_at(image)
        slides += [] if found else [image]
        for path in found:
            _add(bags, path)
    made = find_slides(slides) if slides else []
    for slide in made:
        if slide.slide_id in bags:
            raise _twice(slide.slide_id, bags[slide.slide_id].path, slide.path)
    return Images(bags, tuple(slides), tuple(slide.slide_id for slide in made))


def with_bags(
    images: Images, run: Path, *, inputs: Inputs, features: Path, runtime: Runtime
) -> dict[str, BagInfo]:
    """Bags of images; slides are extracted in the same way as those of the run.

    Parameters
    ----------
    images
        Images that the user gave.
    run
        The run.
    inputs
        Inputs that the extraction needs.
    features
        Folder for the bags of slides; up-to-date bags in it are kept.
    runtime
        Device and precision.

    Returns
    -------
    The bags by slide_id, those of slides last; failed slides are left out, with a warning.

    Raises
    ------
    SlideError
        If no slide could be read.
    """
    bags = dict(images.bags)
    if images.slides:
        failed = _extract(run, images.slides, inputs=inputs, features=features, runtime=runtime)
        there = bag_paths(features)
        for slide_id in images.slide_ids:
            if slide_id in there and slide_id not in failed:
                _add(bags, there[slide_id])
    return bags


def find_cases(
    record: RunRecord, bags: dict[str, BagInfo], inputs: Inputs, cohort: Cohort | None
) -> tuple[list[Case], torch.Tensor | None]:
    """Find the cases of bags, as `gimp predict` does, and their genes.

    Parameters
    ----------
    record
        The run.
    bags
        Bags by slide_id.
    inputs
        Slide table and least gene coverage.
    cohort
        Genes of the cases, if there are any.

    Returns
    -------
    Cases with slides, in the order of the cohort, and standardised genes by `Case.gene_row`.

    Raises
    ------
    PairingError
        If no case can be predicted.
    CheckpointError
        If the run was trained on other features.
    """
    source = CohortSource(
        adata=None if cohort is None else cohort.path,
        features=Path(),  # not read; keeps the run's own slide table from being used
        slide_table=None if inputs.slide_table is None else Path(inputs.slide_table),
        missing="keep",
    )
    modalities = record.config.model.modalities
    study = prepare(source, modalities=modalities, labelled=False, cohort=cohort, bags=bags)
    study = replace(study, cases=tuple(case for case in study.cases if case.has_slides))
    check_bags(record, feature_dim=study.feature_dim, encoder=study.encoder)
    cases, _ = predictable(study.cases, record, None)
    bare = [bag.slide_id for case in cases if not case.has_genes for bag in case.bags]
    if cohort is not None and bare:
        told = counted(len(bare), "slide is", "slides are")
        text = "%s of no case of the cohort, and so predicted without expression: %s"
        logger.warning(text, told, listed(bare))
    genes = genes_of(record, study, cases, min_gene_coverage=inputs.min_gene_coverage)
    return cases, None if genes is None else genes[0]


def _add(bags: dict[str, BagInfo], path: Path) -> None:
    """Add a bag; refuse a second bag of a slide."""
    bag = read_info(path)
    if bag.slide_id in bags:
        raise _twice(bag.slide_id, bags[bag.slide_id].path, path)
    bags[bag.slide_id] = bag


def _twice(slide_id: str, one: Path, other: Path) -> BagError:
    """The error for two images of one slide."""
    return BagError(f"two images are of slide {slide_id!r}: {str(one)!r} and {str(other)!r}")


def _bags_at(image: Path) -> list[Path]:
    """Bags at a path: one, or all of a folder; none if it holds slides."""
    if image.name.endswith(suffixes()):
        return [image]
    return list(bag_paths(image).values()) if image.is_dir() else []


def _extract(
    run: Path, slides: Sequence[Path], *, inputs: Inputs, features: Path, runtime: Runtime
) -> set[str]:
    """Make the bags of slides; return the ids of slides that failed."""
    try:
        result = extract_for(
            run,
            slides,
            output=features,
            runtime=runtime,
            weights=None if inputs.weights is None else Path(inputs.weights),
            slide_mpp=inputs.slide_mpp,
            slide_table=None if inputs.slide_table is None else Path(inputs.slide_table),
            masks=None if inputs.masks is None else Path(inputs.masks),
            offline=inputs.offline,
        )
    except SlideError as error:
        raise SlideError(error.problem) from error  # no hint: its folder may be temporary
    if result.failures:
        told = counted(len(result.failures), "slide")
        logger.warning("%s failed, left out: %s", told, why(result.failures))
    return {one.item for one in result.failures}
