"""Settings of the training: one table for each of the three stages."""

from __future__ import annotations

from dataclasses import dataclass

from gimp_plugin.config.checks import Settings, require_choice, require_range

LARGE = 10**9
CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation(Settings):
    """Settings that the three stages share: AdamW with a cosine schedule.

    Parameters
    ----------
    epochs
        Largest number of passes over the training cases.
    patience
        Epochs without a better validation result before the stage stops; 0 never stops early.
    lr
        Peak learning rate; 0 derives it from the model's dim (1e-4 at 512, 4e-4 at 128).
    warmup
        Share of the steps in which the learning rate rises from 0.
    weight_decay
        Weight decay of matrices; norms, biases and tokens have none.
    clip_norm
        Largest norm of the gradient; 0 does not clip.
    batch_size
        Cases per batch.
    """

    epochs: int = 100
    patience: int = 0
    lr: float = 0.0
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    batch_size: int = 8

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_range("epochs", self.epochs, low=1, high=LARGE)
        require_range("patience", self.patience, low=0, high=LARGE)
        require_range("lr", self.lr, low=0.0, high=1.0)
        require_range("warmup", self.warmup, low=0.0, high=1.0)
        require_range("weight_decay", self.weight_decay, low=0.0, high=1.0)
        require_range("clip_norm", self.clip_norm, low=0.0, high=1e6)
        require_range("batch_size", self.batch_size, low=1, high=LARGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneStageConfig(Optimisation):
    """Supervised pre-training of the gene encoder alone (paper, section 2.3).

    Parameters
    ----------
    epochs, patience, lr, warmup, weight_decay, clip_norm, batch_size
        As in every stage.
    class_weights
        As in fine-tuning; the epoch is then also chosen by the weighted loss.
    """

    epochs: int = 50
    patience: int = 5
    lr: float = 3e-4
    batch_size: int = 16
    class_weights: str = "none"

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        super(GeneStageConfig, self).__post_init__()
        require_choice("class_weights", self.class_weights, CLASS_WEIGHTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig(Optimisation):
    """Masked patch modeling and gene-induced triplets (paper, section 2.3).

    Parameters
    ----------
    epochs, patience, lr, warmup, weight_decay, clip_norm, batch_size
        As in every stage. Pre-training keeps its last epoch.
    subsequence_length
        L, patches per window.
    window
        Length of the window. `longest`: that of the batch's longest bag, at most L; `tiled`:
        exactly L, shorter bags are repeated.
    mask_ratio
        Share of each bag's own patches to hide; at least one stays visible.
    reconstruction
        `mean` or `sum` of the absolute errors (equation 3 sums).
    decoder_start
        Initial decoder: `random`, or the `median` of patches of the training cases as bias, with
        weights of 0.
    reconstruction_weight, patient_triplet_weight, image_triplet_weight
        Weights of L_rec and of the triplet loss on CLS_pat and on CLS_img; 0 leaves a term out.
    margin
        delta of the triplet loss.
    normalise_halves
        Whether to scale CLS_img and CLS_ge to unit length before computing distances.
    """

    subsequence_length: int = 6000
    window: str = "longest"
    mask_ratio: float = 0.5
    reconstruction: str = "mean"
    decoder_start: str = "median"
    reconstruction_weight: float = 1.0
    patient_triplet_weight: float = 1.0
    image_triplet_weight: float = 1.0
    margin: float = 0.8
    normalise_halves: bool = True

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        super(PretrainConfig, self).__post_init__()
        require_range("subsequence_length", self.subsequence_length, low=2, high=LARGE)
        require_choice("window", self.window, ("longest", "tiled"))
        require_range("mask_ratio", self.mask_ratio, low=0.0, high=0.95, open_low=True)
        require_choice("reconstruction", self.reconstruction, ("mean", "sum"))
        require_choice("decoder_start", self.decoder_start, ("median", "random"))
        for name in ("reconstruction_weight", "patient_triplet_weight", "image_triplet_weight"):
            require_range(name, getattr(self, name), low=0.0, high=1e6)
        require_range("margin", self.margin, low=0.0, high=1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(Optimisation):
    """Classification with both halves (paper, section 2.3).

    Parameters
    ----------
    epochs, patience, lr, warmup, weight_decay, clip_norm, batch_size
        As in every stage. The best epoch on the validation cases is kept.
    patch_share_low, patch_share_high
        Bounds of the random share of a bag's patches that a training step sees.
    max_patches
        Largest number of patches of a case in a training step; prediction uses all.
    gene_dropout, image_dropout
        Probability per case and step that the half is replaced by a learned token; if it is above
        0, the model can predict without that half. Slides are dropped only where genes are not, so
        their share is (1 - gene_dropout) * image_dropout.
    choose_by
        `balanced_accuracy` (then the lower loss), or `accuracy`, on the validation cases.
    head_from_genes
        Whether the gene part of a linear head starts from the classifier of gene pre-training.
    class_weights
        Weights of the classes in the cross-entropy: `none`, or `balanced`, n / (n_classes * n_c)
        over the training cases, so that each class has the same share in the loss.
    """

    epochs: int = 70
    patience: int = 10
    patch_share_low: float = 0.33
    patch_share_high: float = 0.5
    max_patches: int = 30000
    gene_dropout: float = 0.5
    image_dropout: float = 0.1
    choose_by: str = "balanced_accuracy"
    head_from_genes: bool = True
    class_weights: str = "none"

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        super(FinetuneConfig, self).__post_init__()
        require_range("patch_share_high", self.patch_share_high, low=0.0, high=1.0, open_low=True)
        require_range(
            "patch_share_low",
            self.patch_share_low,
            low=0.0,
            high=self.patch_share_high,
            open_low=True,
        )
        require_range("max_patches", self.max_patches, low=1, high=LARGE)
        require_range("gene_dropout", self.gene_dropout, low=0.0, high=0.95)
        require_range("image_dropout", self.image_dropout, low=0.0, high=0.95)
        require_choice("choose_by", self.choose_by, ("balanced_accuracy", "accuracy"))
        require_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
