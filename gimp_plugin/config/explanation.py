"""Settings of the explanation of a run."""

from __future__ import annotations

from dataclasses import dataclass

from gimp_plugin.config.checks import Settings, require_choice, require_range
from gimp_plugin.config.sources import MIN_GENE_COVERAGE
from gimp_plugin.keys import NEW, PARTS

SKIPPABLE = ("genes", "attribution", "occlusion", "faithfulness", "pictures", "tsne", "umap")
OTHER, MEAN = "other", "mean"
GENE_REFERENCES = (OTHER, MEAN)
FORMATS = ("geojson", "store", "csv")
LARGE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainConfig(Settings):
    """How cases are explained, and which results are written.

    Parameters
    ----------
    splits
        Parts of the run's splits whose cases are explained; all if empty.
    min_gene_coverage
        Least share of the run's genes that the cohort must have.
    n_steps
        Points on the path of integrated gradients, for patches and for genes.
    gene_reference
        Start of the path for genes, one of `GENE_REFERENCES`: `other`, the mean of the training
        cases of the other classes, with equal weight for each class; or `mean`, the mean of all
        training cases.
    n_regions
        Regions of a case that are removed one at a time.
    max_patches
        Patches whose gradients are computed together; a larger bag is cut into parts.
    target
        Class to explain; empty for the predicted class of each case.
    top
        Number of highest, and of lowest, patches in the picture of these.
    skip
        Results to leave out, from `SKIPPABLE`.
    formats
        Formats of the patches besides HDF5, from `FORMATS`.
    """

    splits: tuple[str, ...] = ()
    min_gene_coverage: float = MIN_GENE_COVERAGE
    n_steps: int = 32
    gene_reference: str = OTHER
    n_regions: int = 64
    max_patches: int = 10_000
    target: str = ""
    top: int = 8
    skip: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("geojson", "store")

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        require_range("n_steps", self.n_steps, low=1, high=10_000)
        require_range("n_regions", self.n_regions, low=2, high=LARGE)
        require_range("max_patches", self.max_patches, low=1, high=LARGE)
        require_range("top", self.top, low=1, high=64)
        require_range("min_gene_coverage", self.min_gene_coverage, low=0.0, high=1.0)
        require_choice("gene_reference", self.gene_reference, GENE_REFERENCES)
        for name in self.splits:
            require_choice("splits", name, (*PARTS, NEW))
        for name in self.skip:
            require_choice("skip", name, SKIPPABLE)
        for name in self.formats:
            require_choice("formats", name, FORMATS)
