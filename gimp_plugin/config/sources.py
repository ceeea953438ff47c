"""Settings of the inputs, of the extraction of patches, and of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from gimp_plugin.config.checks import Settings, require_choice, require_range
from gimp_plugin.config.tissue import GIVEN, canonical_tissue
from gimp_plugin.errors import ConfigError
from gimp_plugin.keys import CASE_ID, LABEL

LARGE = 10**9
GRIDS = ("inside", "cover", "contours")
UNLABELLED = ("use", "drop")
MIN_GENE_COVERAGE = 0.95
"""Share of a run's genes that a cohort must have to be predicted from, unless another is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionConfig(Settings):
    """Everything that determines the bytes of a bag.

    Parameters
    ----------
    patch_encoder
        Name of a registered patch encoder.
    weights
        Weights file for the encoder; empty for the encoder's own weights.
    mpp
        Target resolution, in microns per pixel.
    patch_size
        Side of a patch in pixels at the target resolution.
    stride
        Step between patches in pixels at the target resolution; 0 means the patch size.
    tissue
        How tissue is found: TIAToolbox's `otsu` or `morphological`, or `clam`, which may have
        parameters, as in `clam:a_t=16,a_h=4`.
    masks
        Folder with a mask for each slide, made elsewhere; it replaces `tissue`, which then becomes
        `given`.
    min_tissue
        Least share of tissue in a patch.
    grid
        Where patches may lie: `inside` the slide, starting in its corner; `cover`, also across the
        right and lower edge, as in TRIDENT; or `contours`, around each piece of tissue, as in CLAM.
    input_size
        Side to which patches are resized for the encoder; 0 does not resize.
    slide_mpp
        Resolution of slides that do not state theirs; 0 if unknown. It overrides no stated one.
    max_bad_patches
        Largest share of a slide's patches that may be unreadable; they are left out and counted.
    """

    patch_encoder: str = "resnet50"
    weights: str = ""
    mpp: float = 0.5
    patch_size: int = 256
    stride: int = 0
    tissue: str = "otsu"
    masks: str = ""
    min_tissue: float = 0.25
    grid: str = "inside"
    input_size: int = 0
    slide_mpp: float = 0.0
    max_bad_patches: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        require_range("mpp", self.mpp, low=0.05, high=20.0)
        require_range("patch_size", self.patch_size, low=16, high=4096)
        require_range("stride", self.stride, low=0, high=LARGE)
        tissue = GIVEN if self.masks else canonical_tissue(self.tissue)
        object.__setattr__(self, "tissue", tissue)  # frozen
        if tissue == GIVEN and not self.masks:
            raise ConfigError("tissue = 'given' needs masks", hint="give the folder with --masks")
        require_choice("grid", self.grid, GRIDS)
        if self.input_size:
            require_range("input_size", self.input_size, low=16, high=4096)
        require_range("min_tissue", self.min_tissue, low=0.0, high=1.0)
        if self.slide_mpp:
            require_range("slide_mpp", self.slide_mpp, low=0.05, high=20.0)
        require_range("max_bad_patches", self.max_bad_patches, low=0.0, high=1.0)


PORTABLE = {one.name for one in fields(ExtractionConfig)} - {"weights", "slide_mpp", "masks"}
"""Fields of an extraction that are independent of the machine and of the slides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions(Settings):
    """How slides are processed; apart from `slide_mpps`, nothing changes a bag beyond rounding.

    Parameters
    ----------
    slide_mpps
        Resolution of single slides that do not state theirs, by slide_id.
    batch_size
        Patches per batch; 0 chooses by the device.
    slide_timeout_s
        Total time for which reading one slide may keep the encoder waiting, in seconds.
    shard
        Which part of the slides to process, and of how many parts: 0 of 1 is all slides.
    offline
        Whether not to download weights.
    thumbnails
        Whether to write a picture of each slide with its tissue and patches, and a page of all.
    """

    slide_mpps: dict[str, float] = field(default_factory=dict)
    batch_size: int = 0
    slide_timeout_s: float = 600.0
    shard: tuple[int, int] = (0, 1)
    offline: bool = False
    thumbnails: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("batch_size", self.batch_size, low=0, high=LARGE)
        require_range("slide_timeout_s", self.slide_timeout_s, low=0.0, high=LARGE)
        part, parts = self.shard
        require_range("shard", parts, low=1, high=LARGE)
        require_range("shard", part, low=0, high=parts - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSource(Settings):
    """Where a stage finds its cases; None means "as in the run it starts from", else the default.

    Parameters
    ----------
    adata
        Gene cohort, .h5ad; None for cases without genes.
    labels, case_key
        A table of cases with their classes, with or without a cohort, and its column of case ids,
        by default `case_id`.
    features
        Folder of bags; by default `features`.
    slide_table
        CSV `slide_id,case_id`.
    label_key
        Column with the class, in the table or else in `obs`; by default `label`.
    layer, scale
        Layer to use instead of X, and its scale if the cohort does not declare it.
    splits, fold
        A table of splits or `obs:<column>`, and the fold to use; a number is converted to text.
    missing
        What to do with cases that lack a half: `drop`, `keep` or `error`.
    unlabelled
        What to do with cases without a class: `use` lets pre-training learn from those that are
        training cases, `drop` leaves them out. None leaves out cases that the table of labels does
        not name, and refuses a row without a class, because that is usually a mistake.
    slide_samples
        `tumour` leaves out slides of normal tissue (TCGA sample codes 10-29), `all` keeps them.
    slide_kind
        `dx`, `frozen` or `all`, by the TCGA name.
    """

    adata: Path | None = None
    labels: Path | None = None
    case_key: str | None = None
    features: Path | None = None
    slide_table: Path | None = None
    label_key: str | None = None
    layer: str | None = None
    scale: str | None = None
    splits: str | None = None
    fold: str | None = None
    missing: str | None = None
    unlabelled: str | None = None
    slide_samples: str | None = None
    slide_kind: str | None = None

    def __post_init__(self) -> None:
        """Check the choices; a fold is text."""
        if self.fold is not None:
            object.__setattr__(self, "fold", str(self.fold))  # frozen
        require_choice("missing", self.missing or "drop", ("drop", "keep", "error"))
        require_choice("unlabelled", self.unlabelled or "drop", UNLABELLED)
        require_choice("slide_samples", self.slide_samples or "all", ("tumour", "all"))
        require_choice("slide_kind", self.slide_kind or "all", ("dx", "frozen", "all"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Settings):
    """Settings of the machine; except for the seed, nothing here changes a result beyond rounding.

    Parameters
    ----------
    device
        `auto`, `cpu`, `cuda` or `cuda:N`.
    precision
        `auto` (float32 on the CPU, bf16 on CUDA), `fp32` or `bf16`.
    num_workers
        Processes that load data; 0 loads in the main process.
    seed
        Seed of all random numbers.
    overwrite
        Whether to replace an output that was made from other inputs.
    tensorboard
        Whether a training also writes its learning curves for TensorBoard.
    checkpoint_activations
        Whether to recompute the activations of each attention layer for the gradient: a training
        step takes longer, but far less memory.
    """

    device: str = "auto"
    precision: str = "auto"
    num_workers: int = 0
    seed: int = 0
    overwrite: bool = False
    tensorboard: bool = False
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        require_choice("device", self.device.partition(":")[0], ("auto", "cpu", "cuda"))
        require_choice("precision", self.precision, ("auto", "fp32", "bf16"))
        require_range("num_workers", self.num_workers, low=0, high=1024)
        require_range("seed", self.seed, low=0, high=2**32 - 1)


DEFAULTS = CohortSource(
    case_key=CASE_ID,
    features=Path("features"),
    label_key=LABEL,
    missing="drop",
    slide_samples="tumour",
    slide_kind="all",
)
