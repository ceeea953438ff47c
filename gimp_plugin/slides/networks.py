"""Networks of the patch encoders: 8-bit patches in, one vector per patch out.

Normalisation is part of the network, so that patches are passed as bytes and no caller can forget
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gimp_plugin.errors import CheckpointError, listed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """8-bit RGB to normalised channels: (pixel - mean) / std.

    Parameters
    ----------
    mean, std
        Per channel, in pixel values of 0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(
        self, patches: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Normalise; the memory stays channels-last, which is faster for convolutions."""
        return rearrange((patches - self.mean) / self.std, "b h w c -> b c h w")


class TruncatedResNet50(nn.Module):
    """ResNet50 up to layer3, averaged over the patch: CLAM's features, 1024-d."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import resnet50

        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced below
            whole = resnet50(weights=None)
        self.normalise = Normalise(
            [255 * value for value in IMAGENET_MEAN], [255 * value for value in IMAGENET_STD]
        )
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        self.layers = nn.Sequential()
        for name in names:
            self.layers.add_module(name, getattr(whole, name))
        load_exactly(self.layers, weights, unused=("layer4.", "fc."))
        for_convolutions(self)

    def forward(
        self, patches: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch feature"]:
        """Encode patches of any size."""
        return self.layers(self.normalise(patches)).mean(dim=(2, 3))


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier, 1280-d, at 224 pixels."""

    size = 224

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        import timm

        with torch.random.fork_rng(devices=[]):
            self.network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
        self.normalise = Normalise([127.0] * 3, [128.0] * 3)
        load_in_order(self.network, weights, unused=("_fc.weight", "_fc.bias"))
        for_convolutions(self)

    def forward(
        self, patches: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch feature"]:
        """Encode patches; those of another size are resized."""
        pixels = self.normalise(patches)
        if pixels.shape[2:] != (self.size, self.size):
            pixels = functional.interpolate(
                pixels, size=(self.size, self.size), mode="bilinear", antialias=True
            )
        return self.network(pixels)


class Untrained(nn.Module):
    """Fixed random projection of a patch's coarse colours: fast, and only for tests."""

    projection: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(20231008)
        projection = torch.randn(4 * 4 * 3, dim, generator=generator)
        self.register_buffer("projection", projection, persistent=False)
        self.normalise = Normalise([127.5] * 3, [127.5] * 3)

    def forward(
        self, patches: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch feature"]:
        """Encode patches of any size."""
        coarse = functional.adaptive_avg_pool2d(self.normalise(patches), 4)
        return torch.tanh(rearrange(coarse, "b c h w -> b (c h w)") @ self.projection)


def load_exactly(
    module: nn.Module, weights: Mapping[str, Tensor], *, unused: tuple[str, ...]
) -> None:
    """Load weights by name; none may be missing or left over.

    Parameters
    ----------
    module
        Module to load them into.
    weights
        Tensors by name.
    unused
        Prefixes of names to ignore.

    Raises
    ------
    CheckpointError
        If names or shapes differ.
    """
    used = {name: value for name, value in weights.items() if not name.startswith(unused)}
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    wrong = sorted(
        name
        for name in wanted.keys() | used.keys()
        if name not in used or wanted.get(name) != used[name].shape
    )
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    if wrong:
        problem = f"weights that are missing, extra or of another shape: {listed(wrong)}"
        raise CheckpointError(problem, hint="give the weights of this network")
    module.load_state_dict({name: used[name] for name in wanted if name in used}, strict=False)


def load_in_order(
    module: nn.Module, weights: Mapping[str, Tensor], *, unused: tuple[str, ...]
) -> None:
    """Load weights by order, for a network whose tensors have other names.

    Parameters
    ----------
    module
        Module to load them into.
    weights
        Tensors in the order of the module's.
    unused
        Names to ignore.

    Raises
    ------
    CheckpointError
        If their number or shapes differ.
    """
    used = [value for name, value in weights.items() if name not in unused]
    wanted = module.state_dict()
    if [value.shape for value in used] != [value.shape for value in wanted.values()]:
        problem = f"{len(used)} weights do not have the shapes of {type(module).__name__}'s"
        raise CheckpointError(problem, hint="give the weights of this network")
    module.load_state_dict(dict(zip(wanted, used, strict=True)))


def for_convolutions(module: nn.Module) -> nn.Module:
    """Speed up a convolutional network: fold batch norms, and use channels-last memory.

    Not for networks with attention or with few convolutions, which are slower channels-last.

    Parameters
    ----------
    module
        Changed in place.

    Returns
    -------
    The module.
    """
    fold_batch_norms(module)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the preceding convolution, for the same function in less time.

    On a CPU, the norms take a fifth of these networks' time. An activation that is part of the
    norm, as in timm, is kept. Module and weights are changed in place.

    Parameters
    ----------
    module
        A module for evaluation only, since the current running averages are used.
    """
    for parent in [*module.modules()]:
        children = [*parent.named_children()]
        for (name, first), (next_name, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                folded = fuse_conv_bn_eval(first.eval(), second.eval())
                setattr(parent, name, folded)
                setattr(parent, next_name, getattr(second, "act", nn.Identity()))
