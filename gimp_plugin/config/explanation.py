"""How a run is explained."""

from __future__ import annotations

from dataclasses import dataclass

from gimp_plugin.config.checks import Settings, require_choice, require_range
from gimp_plugin.keys import NEW, PARTS

SKIPPABLE = ("genes", "attribution", "occlusion", "faithfulness", "pictures", "tsne", "umap")
OTHER, MEAN = "other", "mean"
GENE_REFERENCES = (OTHER, MEAN)
FORMATS = ("geojson", "store", "csv")
LARGE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainConfig(Settings):
    """What decides an explanation, and what of it is written.

    Parameters
    ----------
    splits
        Parts of the run's splits whose cases are explained; all if empty.
    min_gene_coverage
        Least share of the run's genes that the cohort must have.
    n_steps
        Points of the path of integrated gradients, of patches and of genes.
    gene_reference
        Where the path of genes begins, of `GENE_REFERENCES`: `other`, the mean of the training
        cases of the other classes, each class weighing alike; or `mean`, that of all of them.
    n_regions
        Regions of a case that are taken out one by one.
    max_patches
        Patches that gradients are computed of together; a larger bag is cut into parts.
    target
        Class that is explained; empty for the predicted one of each case.
    top
        Patches in the picture of the highest and lowest ones, of each.
    skip
        What is left out, of `SKIPPABLE`.
    formats
        What patches are written as beside HDF5, of `FORMATS`.
    """

    splits: tuple[str, ...] = ()
    min_gene_coverage: float = 0.95
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
