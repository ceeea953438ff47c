"""What a component of each kind must offer; `gimp_plugin.testing` tries whether it does.

A component is a function (`...Maker`) of the configuration, but for gene groupings, which are the
function, and feature readers, which are objects. Parts of a model are modules of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from gimp_plugin.config import GimpConfig, ModelConfig
    from gimp_plugin.models.gimp import GimpModel
    from gimp_plugin.storage.bags.info import BagInfo
    from gimp_plugin.training.material import Material
    from gimp_plugin.training.tools import Tools


class PatchEncoder(Protocol):
    """What turns patches into features.

    `name` and `weights_sha256` identify the bags: they must differ where the features do.
    """

    @property
    def name(self) -> str:
        """Registered name, with its argument."""
        ...

    @property
    def dim(self) -> int:
        """Features of a patch."""
        ...

    @property
    def input_size(self) -> int:
        """Side of the patches that the network was made for, in pixels."""
        ...

    @property
    def mpp(self) -> float:
        """Resolution that it is used at, microns per pixel."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Hash of its weights, or `untrained`."""
        ...

    @property
    def licence(self) -> str:
        """Licence of its weights."""
        ...

    @property
    def preprocessing(self) -> str:
        """What the network does to the pixels first."""
        ...

    def module(self) -> nn.Module:
        """Build the network: uint8 (batch, height, width, 3) in, floats (batch, dim) out."""
        ...


class PatchEncoderMaker(Protocol):
    """Component of the kind `patch-encoder`; that of a family also takes `argument`."""

    def __call__(self, *, weights: Path | None, offline: bool) -> PatchEncoder:
        """Find the weights, or raise; the network is built later."""
        ...


class GeneEncoder(Protocol):
    """Module that gives CLS_ge of standardised expression.

    It may also have `encode_tokens(genes)`, which gives CLS_ge and the tokens that it was made of,
    (batch, token, dim), and belongs to the `forward` of its own class.
    """

    dim: int

    def __call__(self, genes: Tensor) -> Tensor:
        """Encode genes, shape (batch, gene), to (batch, dim)."""
        ...


class GeneEncoderMaker(Protocol):
    """Component of the kind `gene-encoder`."""

    def __call__(self, config: ModelConfig, *, n_genes: int) -> GeneEncoder:
        """Make the encoder; its `dim` is that of the configuration."""
        ...


class Aggregator(Protocol):
    """Module that gives CLS_img of the patches of a case, and the patches that are asked for.

    It may also have `stream(tokens, sizes)` and `plan(valid, *, slide, rows, masked)`, which belong
    to the `forward` of its own class.
    """

    dim: int

    def __call__(
        self,
        tokens: Tensor,
        valid: Tensor,
        *,
        slide: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Aggregate tokens (batch, patch, dim) to (batch, dim) and (rows, dim).

        `valid` is True for patches that exist: the others change nothing, and a case may have none.
        `slide` is the slide of each patch. `rows` is True for patches that are wanted besides
        CLS_img, of all cases one after the other; None wants none.
        """
        ...


class AggregatorMaker(Protocol):
    """Component of the kind `aggregator`."""

    def __call__(self, config: ModelConfig) -> Aggregator:
        """Make the aggregator; its `dim` is that of the configuration."""
        ...


class Fusion(Protocol):
    """Module that makes one embedding of the two halves of a case."""

    out_dim: int

    def __call__(
        self, cls_img: Tensor | None, cls_ge: Tensor | None, has_slides: Tensor, has_genes: Tensor
    ) -> Tensor:
        """Fuse halves, each (batch, dim) or None, to (batch, out_dim).

        What stands in the row of a case without that half changes nothing.
        """
        ...


class FusionMaker(Protocol):
    """Component of the kind `fusion`."""

    def __call__(self, config: ModelConfig) -> Fusion:
        """Make the fusion for the halves that the configuration has."""
        ...


class Head(Protocol):
    """Module that gives logits of the fused embedding."""

    def __call__(self, embedding: Tensor) -> Tensor:
        """Classify embeddings, shape (batch, in_dim), to (batch, class)."""
        ...


class HeadMaker(Protocol):
    """Component of the kind `head`."""

    def __call__(self, config: ModelConfig, *, in_dim: int, n_classes: int) -> Head:
        """Make the head."""
        ...


class System(Protocol):
    """Module that classifies one case by itself, from the halves that the model has.

    It may also have `loss(features, genes, label)`, the scalar that is minimised in training, by
    default the cross-entropy; label is a class index, shape (). With `attend(features)`, attention
    of shape (head, patch), it can be drawn on slides. One that groups genes has `genes_per_group`.
    """

    def __call__(self, features: Tensor | None, genes: Tensor | None) -> Tensor:
        """Give logits (class,) of a case with features (patch, feature) and genes (gene,).

        A half is None where the model, not the case, lacks it. There is at least one patch, those
        of all slides one after the other, and no padding.
        """
        ...


class SystemMaker(Protocol):
    """Component of the kind `system`."""

    def __call__(
        self, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> System:
        """Make the system for `config.modalities`, or raise ConfigError if it is not for these.

        Sizes of a half that the model lacks are of no account. Neighbouring genes are those that
        the gene grouping brought together.
        """
        ...


class GeneGrouping(Protocol):
    """Component of the kind `gene-grouping`; it may take `**context` for what it does not use."""

    def __call__(
        self,
        gene_ids: Sequence[str],
        *,
        seed: int,
        genes: pd.DataFrame,
        expression: NDArray[np.float32],
        argument: str,
    ) -> NDArray[np.int64]:
        """Order the genes: entry i is the index of the gene that is read at place i.

        `genes` is `var` of the cohort, `expression` the standardised values of the training cases,
        shape (case, gene), and `argument` what stands behind the colon of the name.
        """
        ...


class FeatureReader(Protocol):
    """Component of the kind `feature-reader`, as a `gimp_plugin.storage.bags.layout.Layout` is."""

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    @property
    def suffix(self) -> str:
        """End of the file names, with its dot."""
        ...

    def opened(self, path: Path, /) -> AbstractContextManager[Any]:
        """Open a file safely; what it gives goes to the other functions."""
        ...

    def claims(self, file: Any, /) -> bool:
        """Tell whether an opened file is of this layout, by its looks."""
        ...

    def look(self, path: Path, file: Any, /) -> BagInfo:
        """Tell its shape and what it says of itself; no feature is read."""
        ...

    def rows(self, info: BagInfo, file: Any, start: int, stop: int | None, /) -> NDArray[Any]:
        """Features from a first row up to a last, (patch, dim)."""
        ...

    def corners(self, info: BagInfo, file: Any, /) -> NDArray[Any]:
        """Top-left corners of all patches, (patch, 2), in the unit that `look` states."""
        ...


class Trainer(Protocol):
    """What trains a model, which it changes in place; metrics of each stage by its name.

    Of a stage, `metrics.json` holds `chosen_epoch` and `epochs`, a table of numbers for each; that
    of `finetune` may hold a `calibration` with a `temperature`.
    """

    def pretrain_genes(self, model: GimpModel, material: Material) -> dict[str, Any]:
        """Train the gene encoder by the labels; nothing for a model without genes."""
        ...

    def pretrain(self, model: GimpModel, material: Material) -> dict[str, Any]:
        """Train the image half; nothing for a model without slides.

        Where a user asks for it, some training cases have no label: theirs is -1.
        """
        ...

    def finetune(
        self, model: GimpModel, material: Material, *, frozen_genes: bool
    ) -> dict[str, Any]:
        """Train the classifier; a frozen gene encoder stays as it is.

        Where the configuration names a system, the model is a
        `gimp_plugin.models.system.SystemModel`, and nothing was trained before.
        """
        ...


class TrainerMaker(Protocol):
    """Component of the kind `trainer`.

    It may have an attribute `pairs`: True says that `pretrain` learns from pairs of slides and
    genes and from no label, and trains the gene encoder, too. `pretrain_genes` is then not called
    before it, and the gene encoder is not frozen after it.
    """

    def __call__(self, config: GimpConfig, tools: Tools) -> Trainer:
        """Make the trainer: device, run folder, seed and the other processes are in `tools`."""
        ...
