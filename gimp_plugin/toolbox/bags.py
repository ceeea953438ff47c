"""From what a user gives an engine, slides or bags, to the cases of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gimp_plugin.assembly.load import check_bags
from gimp_plugin.cohort.expression import Cohort, read_cohort
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import prepare
from gimp_plugin.errors import BagError, MissingFileError, listed
from gimp_plugin.prediction import extract_for
from gimp_plugin.prediction.halves import predictable
from gimp_plugin.prediction.predict import genes_of
from gimp_plugin.slides.finding import find_slides
from gimp_plugin.storage.bags import BagInfo, bag_paths, read_info, suffixes
from gimp_plugin.storage.runs import RunRecord

if TYPE_CHECKING:
    import anndata

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a run predicts from, beside the slides.

    Parameters
    ----------
    adata
        Genes of the cases: an .h5ad file, or an AnnData on the scale of the training; None without.
    layer, scale
        As for `gimp predict`.
    slide_table
        CSV `slide_id,case_id`; by default names and TCGA barcodes say whose a slide is.
    min_gene_coverage
        Least share of the run's genes that the AnnData must have.
    weights
        Weights file of the patch encoder, where it does not find its own.
    slide_mpp
        Resolution of slides that do not state theirs; 0 when unknown.
    masks
        Folder with a mask for each slide, where the run's own bags were made by such.
    offline
        Do not download weights.
    """

    adata: anndata.AnnData | Path | str | None = None
    layer: str | None = None
    scale: str | None = None
    slide_table: Path | str | None = None
    min_gene_coverage: float = 0.95
    weights: Path | str | None = None
    slide_mpp: float = 0.0
    masks: Path | str | None = None
    offline: bool = False

    def cohort(self) -> Cohort | None:
        """Read the genes, if there are any."""
        if self.adata is None:
            return None
        if isinstance(self.adata, (str, Path)):
            return read_cohort(Path(self.adata), layer=self.layer, scale=self.scale)
        return Cohort.from_anndata(self.adata, layer=self.layer, scale=self.scale)


def find_bags(
    run: Path, images: Sequence[Path], *, inputs: Inputs, features: Path, runtime: Runtime
) -> dict[str, BagInfo]:
    """Bags of images; slides are extracted first, as the run's own were.

    Parameters
    ----------
    run
        The run.
    images
        Bags, slides, and folders of either.
    inputs
        What the extraction needs to know.
    features
        Folder for the bags of slides; those that are there and current are kept.
    runtime
        Device and precision.

    Returns
    -------
    The bags by slide_id, in the order of the images; slides that failed are left out, with a
    warning.

    Raises
    ------
    BagError
        If two images are of one slide.
    MissingFileError
        If an image does not exist.
    SlideError
        If no slide could be read.
    """
    paths: list[Path | None] = []
    slides = []
    for image in images:
        if not image.exists():
            raise MissingFileError(f"no slide or bag {str(image)!r}", hint="check the path")
        found = _bags_at(image)
        paths += found
        slides += [] if found else [image]
    made = find_slides(slides) if slides else []
    if slides:
        _extract(run, slides, inputs=inputs, features=features, runtime=runtime)
        there = bag_paths(features)
        paths += [there.get(slide.slide_id) for slide in made]
    bags: dict[str, BagInfo] = {}
    for path in filter(None, paths):
        bag = read_info(path)
        if bag.slide_id in bags:
            problem = f"two images are of slide {bag.slide_id!r}"
            raise BagError(f"{problem}: {str(bags[bag.slide_id].path)!r} and {str(path)!r}")
        bags[bag.slide_id] = bag
    return bags


def find_cases(
    record: RunRecord, bags: dict[str, BagInfo], inputs: Inputs
) -> tuple[list[Case], torch.Tensor | None]:
    """Cases that bags are of, as `gimp predict` finds them, and their genes.

    Parameters
    ----------
    record
        The run.
    bags
        Bags by slide_id.
    inputs
        Genes and slide table.

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
    cohort = inputs.cohort()
    source = CohortSource(
        adata=None if cohort is None else cohort.path,
        features=Path(),  # not looked into, and so the run's own slide table is not asked
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
        text = "%d slides are of no case of the cohort and are predicted without expression: %s"
        logger.warning(text, len(bare), listed(bare))
    genes = genes_of(record, study, cases, min_gene_coverage=inputs.min_gene_coverage)
    return cases, None if genes is None else genes[0]


def as_path(image: Any) -> Path:
    """Path of an image; TIAToolbox's engines take open readers, too."""
    return Path(getattr(image, "input_path", image))


def _bags_at(image: Path) -> list[Path]:
    """Bags at a path: one, or all of a folder; none where there are slides."""
    if image.name.endswith(suffixes()):
        return [image]
    return list(bag_paths(image).values()) if image.is_dir() else []


def _extract(
    run: Path, slides: Sequence[Path], *, inputs: Inputs, features: Path, runtime: Runtime
) -> None:
    """Make the bags of slides."""
    result = extract_for(
        run,
        slides,
        output=features,
        runtime=runtime,
        weights=None if inputs.weights is None else Path(inputs.weights),
        slide_mpp=inputs.slide_mpp,
        masks=None if inputs.masks is None else Path(inputs.masks),
        offline=inputs.offline,
    )
    if result.failures:
        failed = listed(one.item for one in result.failures)
        logger.warning("%d slides failed and are left out: %s", len(result.failures), failed)
