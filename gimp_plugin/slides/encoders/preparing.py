"""Preprocessing of 8-bit patches as part of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from gimp_plugin.errors import ConfigError
from gimp_plugin.slides.networks import Normalise, for_convolutions

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How patches are resized, cropped and normalised.

    Parameters
    ----------
    resize
        Side that patches are resized to.
    crop
        Side of the centre crop that the network gets.
    interpolation
        One of `INTERPOLATIONS`; all but `nearest` use antialiasing when reducing.
    mean, std
        Per channel, of pixel values in 0 to 1.
    """

    resize: int
    crop: int
    interpolation: str
    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        """Check the interpolation."""
        if self.interpolation not in INTERPOLATIONS:
            problem = f"interpolation {self.interpolation!r} is not known for patches"
            raise ConfigError(problem, hint=f"known are {', '.join(INTERPOLATIONS)}")

    def __str__(self) -> str:
        """Return one line, for the bag."""
        mean, std = ([round(float(v), 6) for v in values] for values in (self.mean, self.std))
        return (
            f"resized to {self.resize} px in the network ({self.interpolation}, antialias), "
            f"middle {self.crop} px; mean {mean}, standard deviation {std} of 0 to 1"
        )


class Prepared(nn.Module):
    """A network that takes patches of any size.

    Patches are resized as 8-bit values, as in PIL, with which networks are trained; results differ
    from PIL's by at most one grey value.

    Parameters
    ----------
    network
        Takes normalised channels of the cropped size.
    preparation
        Preprocessing in front of the network.
    """

    def __init__(self, network: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.network = network
        self.preparation = preparation
        self.normalise = Normalise(
            [255 * value for value in preparation.mean], [255 * value for value in preparation.std]
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Encode patches."""
        pixels = resized(patches, self.preparation.resize, self.preparation.interpolation)
        if pixels.shape[1] != self.preparation.crop:
            pixels = rearrange(pixels, "b h w c -> b c h w")
            pixels = functional.center_crop(pixels, [self.preparation.crop] * 2)
            pixels = rearrange(pixels, "b c h w -> b h w c")
        return self.network(self.normalise(pixels))


class Resized(nn.Module):
    """A network with resizing of 8-bit patches to its own input size.

    Parameters
    ----------
    network
        Takes 8-bit patches, shape (batch, size, size, 3).
    size
        Side, in pixels.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, patches: Tensor) -> Tensor:
        """Encode patches."""
        return self.network(resized(patches, self.size, "bilinear"))


class Transformed(nn.Module):
    """A network whose transform takes one PIL image at a time.

    Parameters
    ----------
    network
        Takes the stacked output of the transform.
    transform
        From a PIL image to a tensor.
    """

    def __init__(self, network: nn.Module, transform: Callable[[Any], Any]) -> None:
        super().__init__()
        self.network = network
        self.transform = transform

    def forward(self, patches: Tensor) -> Tensor:
        """Encode patches."""
        from PIL import Image

        images = [self.transform(Image.fromarray(patch)) for patch in patches.cpu().numpy()]
        wrong = [type(each).__name__ for each in images if not isinstance(each, Tensor)]
        if wrong:
            problem = f"the transform of {type(self.network).__name__} gave a {wrong[0]}"
            raise ConfigError(problem, hint="expected a tensor of one image")
        return self.network(torch.stack(images).to(patches.device))


def resized(patches: Tensor, size: int, interpolation: str) -> Tensor:
    """Resize 8-bit patches.

    Parameters
    ----------
    patches
        Shape (batch, height, width, 3).
    size
        New length of the shorter side.
    interpolation
        One of `INTERPOLATIONS`.

    Returns
    -------
    8-bit patches.
    """
    if min(patches.shape[1:3]) == size:
        return patches
    pixels = rearrange(patches, "b h w c -> b c h w")
    mode = InterpolationMode(interpolation)
    pixels = functional.resize(pixels, [size], interpolation=mode, antialias=True)
    return rearrange(pixels, "b c h w -> b h w c")


def feature_dim(build: Callable[[], nn.Module], size: int) -> int:
    """Find the number of features that a network returns, without its weights.

    Parameters
    ----------
    build
        Builds the network, which takes normalised channels.
    size
        Side of its input.

    Returns
    -------
    The length of the output's second axis.

    Raises
    ------
    ConfigError
        If it does not return one vector per patch.
    """
    try:
        with torch.device("meta"), torch.inference_mode():
            shape = build().eval()(torch.zeros(1, 3, size, size)).shape
    except (RuntimeError, NotImplementedError, TypeError):  # some need actual values
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            shape = build().eval()(torch.zeros(1, 3, size, size)).shape
    if len(shape) != 2:
        problem = f"the network gives shape {tuple(shape)} for one patch, expected one vector"
        raise ConfigError(problem, hint="choose a network that pools over the patch")
    return int(shape[1])


def fast(build: Callable[[], nn.Module], size: int) -> nn.Module:
    """Build a network and fold its batch norms, if that leaves the function unchanged.

    Parameters
    ----------
    build
        Builds the network with its weights.
    size
        Side of its input.

    Returns
    -------
    The network in evaluation mode. It is unchanged if it has no batch norms, or if its norms do not
    follow their convolutions in the order of its modules.
    """
    network = build().eval()
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = network(noise)
        after = for_convolutions(network)(noise)
    if torch.allclose(before, after, rtol=1e-3, atol=1e-4 * float(before.abs().max())):
        return network
    return build().eval()
