"""What a component of each kind must provide; `gimp_plugin.testing` checks whether it does.

Most components are functions of the configuration that make an object (`...Maker`). Gene groupings
are the function itself, and feature readers are objects. Parts of a model are torch modules.
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
    """Network that turns patches into features.

    `name` and `weights_sha256` identify bags: encoders that give other features must differ here.
    """

    @property
    def name(self) -> str:
        """Registered name, with its argument."""
        ...

    @property
    def dim(self) -> int:
        """Number of features of a patch."""
        ...

    @property
    def input_size(self) -> int:
        """Side of the patches that the network was made for, in pixels."""
        ...

    @property
    def mpp(self) -> float:
        """Resolution at which the network is used, in microns per pixel."""
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
        """Preprocessing of the pixels, which is part of the network, in words."""
        ...

    def module(self) -> nn.Module:
        """Build the network: uint8 (batch, height, width, 3) in, floats (batch, dim) out."""
        ...


class PatchEncoderMaker(Protocol):
    """Component of the kind `patch-encoder`; a family of encoders also takes `argument`."""

    def __call__(self, *, weights: Path | None, offline: bool) -> PatchEncoder:
        """Find the weights, or raise; the network is built later."""
        ...


class GeneEncoder(Protocol):
    """Module that computes CLS_ge from standardised expression.

    It may also have `encode_tokens(genes)`, which returns CLS_ge and the tokens it was computed
    from, shape (batch, token, dim). The class that defines `forward` must define it.
    """

    dim: int

    def __call__(self, genes: Tensor) -> Tensor:
        """Encode genes, shape (batch, gene), to (batch, dim)."""
        ...


class GeneEncoderMaker(Protocol):
    """Component of the kind `gene-encoder`."""

    def __call__(self, config: ModelConfig, *, n_genes: int) -> GeneEncoder:
        """Make the encoder; its `dim` must be that of the configuration."""
        ...


class Aggregator(Protocol):
    """Module that computes CLS_img from the patches of a case, and the patches that are wanted.

    It may also have `stream(tokens, sizes)` and `plan(valid, *, slide, rows, masked)`. The class
    that defines `forward` must define them.
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

        `valid` is True for patches that exist; the others must have no effect, and a case may have
        no patches. `slide` is the slide of each patch. `rows` is True for patches to return besides
        CLS_img, case after case; None for none.
        """
        ...


class AggregatorMaker(Protocol):
    """Component of the kind `aggregator`."""

    def __call__(self, config: ModelConfig) -> Aggregator:
        """Make the aggregator; its `dim` must be that of the configuration."""
        ...


class Fusion(Protocol):
    """Module that combines the two halves of a case into one embedding."""

    out_dim: int

    def __call__(
        self, cls_img: Tensor | None, cls_ge: Tensor | None, has_slides: Tensor, has_genes: Tensor
    ) -> Tensor:
        """Fuse halves, each (batch, dim) or None, to (batch, out_dim).

        The row of a case that lacks a half must have no effect.
        """
        ...


class FusionMaker(Protocol):
    """Component of the kind `fusion`."""

    def __call__(self, config: ModelConfig) -> Fusion:
        """Make the fusion for the halves that the configuration has."""
        ...


class Head(Protocol):
    """Module that computes logits from the fused embedding."""

    def __call__(self, embedding: Tensor) -> Tensor:
        """Classify embeddings, shape (batch, in_dim), to (batch, class)."""
        ...


class HeadMaker(Protocol):
    """Component of the kind `head`."""

    def __call__(self, config: ModelConfig, *, in_dim: int, n_classes: int) -> Head:
        """Make the head."""
        ...


class System(Protocol):
    """Module that classifies one case at a time, from the halves that the model has.

    It may also have `loss(features, genes, label)`, the scalar to minimise in training; label is a
    class index, shape (). The default is the cross-entropy. With `attend(features)`, attention of
    shape (head, patch), it can be drawn on slides. One that groups genes has `genes_per_group`.
    """

    def __call__(self, features: Tensor | None, genes: Tensor | None) -> Tensor:
        """Give logits (class,) of a case with features (patch, feature) and genes (gene,).

        A half is None if the model, not the case, lacks it. Patches come slide after slide, at
        least one, without padding.
        """
        ...


class SystemMaker(Protocol):
    """Component of the kind `system`."""

    def __call__(
        self, config: ModelConfig, *, feature_dim: int, n_genes: int, n_classes: int
    ) -> System:
        """Make the system for `config.modalities`, or raise ConfigError if it does not read these.

        Sizes of a half that the model lacks do not matter. The genes are in the order of the gene
        grouping.
        """
        ...


class GeneGrouping(Protocol):
    """Component of the kind `gene-grouping`; `**context` may collect arguments it does not use."""

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
        shape (case, gene), and `argument` the text after the colon of the name.
        """
        ...


class FeatureReader(Protocol):
    """Component of the kind `feature-reader`, e.g. a `gimp_plugin.storage.bags.layout.Layout`."""

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    @property
    def suffix(self) -> str:
        """End of the file names, with its dot."""
        ...

    def opened(self, path: Path, /) -> AbstractContextManager[Any]:
        """Open a file safely; the other methods get the opened file."""
        ...

    def claims(self, file: Any, /) -> bool:
        """Tell whether an opened file seems to have this layout."""
        ...

    def look(self, path: Path, file: Any, /) -> BagInfo:
        """Read its shape and metadata, but no features."""
        ...

    def rows(self, info: BagInfo, file: Any, start: int, stop: int | None, /) -> NDArray[Any]:
        """Features of the rows from `start` to before `stop` (None: to the end), (patch, dim)."""
        ...

    def corners(self, info: BagInfo, file: Any, /) -> NDArray[Any]:
        """Top-left corners of all patches, (patch, 2), in the unit that `look` states."""
        ...


class Trainer(Protocol):
    """Trains a model in place; each method returns the metrics of its stages by name.

    The metrics of a stage in `metrics.json` are `chosen_epoch` and `epochs`, a table of numbers per
    epoch; those of `finetune` may include a `calibration` with a `temperature`.
    """

    def pretrain_genes(self, model: GimpModel, material: Material) -> dict[str, Any]:
        """Train the gene encoder on the labels; do nothing for a model without genes."""
        ...

    def pretrain(self, model: GimpModel, material: Material) -> dict[str, Any]:
        """Train the image half; do nothing for a model without slides.

        If the user asks for it, there are training cases without a label; their label is -1.
        """
        ...

    def finetune(
        self, model: GimpModel, material: Material, *, frozen_genes: bool
    ) -> dict[str, Any]:
        """Train the classifier; a frozen gene encoder must not change.

        If the configuration names a system, the model is a
        `gimp_plugin.models.system.SystemModel`, and no stage was trained before.
        """
        ...


class TrainerMaker(Protocol):
    """Component of the kind `trainer`.

    It may have an attribute `pairs`: True means that `pretrain` learns from pairs of slides and
    genes, without labels, and also trains the gene encoder. Then `pretrain_genes` is not called
    before it, and the gene encoder is not frozen after it.
    """

    def __call__(self, config: GimpConfig, tools: Tools) -> Trainer:
        """Make the trainer; `tools` holds device, run folder, seed and the other processes."""
        ...
