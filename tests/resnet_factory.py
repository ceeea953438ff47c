"""A ResNet50 with seeded weights, and its features computed by torchvision's own modules."""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def seeded_resnet50() -> torchvision.models.ResNet:
    """Draw weights that keep activations in range, with batch norms as after training."""
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.resnet50(weights=None)
    state = network.state_dict().items()
    network.load_state_dict({name: _draw(name, value, generator) for name, value in state})
    return network.eval()


def layer3_mean(
    network: torchvision.models.ResNet, patches: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Average layer3 over each patch, with pixels normalised as documented by torchvision."""
    pixels = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.no_grad():
        hidden = network.maxpool(network.relu(network.bn1(network.conv1((pixels - mean) / std))))
        hidden = network.layer3(network.layer2(network.layer1(hidden)))
        return functional.adaptive_avg_pool2d(hidden, 1).flatten(1).numpy()


def _draw(name: str, value: Tensor, generator: torch.Generator) -> Tensor:
    """Weights of one tensor."""
    if not value.is_floating_point():
        return value
    drawn = torch.randn(value.shape, generator=generator)
    if name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight")):
        return drawn.abs() / 4 + 0.5
    return drawn / value[0].numel() ** 0.5 if value.ndim > 1 else drawn / 10
