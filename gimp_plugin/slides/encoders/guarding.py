"""A guard around a network: reports its exceptions and wrong output with the encoder's name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gimp_plugin.errors import ConfigError, GimpError


class Guarded(nn.Module):
    """A network that returns features of the declared shape, or raises a clear error.

    Whether they are finite is checked when the bag is written; a check here would wait for the GPU.

    Parameters
    ----------
    network
        The network to guard, of any origin.
    name, dim
        Name and dimension of the patch encoder.
    """

    def __init__(self, network: nn.Module, *, name: str, dim: int) -> None:
        super().__init__()
        if not callable(network):
            problem = f"the patch encoder {name!r} gave a {type(network).__name__} as its network"
            raise ConfigError(problem, hint="expected a torch.nn.Module")
        self.network = network
        self.name, self.dim = name, dim

    def forward(self, patches: Tensor) -> Tensor:
        """Encode patches."""
        features = run(self.network, patches, name=self.name)
        if not isinstance(features, Tensor) or features.shape != (len(patches), self.dim):
            problem = (
                f"the patch encoder {self.name!r} gave {_spelled(features)}, expected one vector "
                f"a patch: shape ({len(patches)}, {self.dim})"
            )
            raise ConfigError(problem, hint="correct its dim, or its network")
        return features


def run(network: nn.Module, patches: Tensor, *, name: str) -> Tensor:
    """Call a network, adding the encoder's name to any error other than a lack of memory.

    Parameters
    ----------
    network
        A network of any origin.
    patches
        8-bit, shape (batch, height, width, 3).
    name
        Name of the patch encoder.

    Returns
    -------
    Output of the network.

    Raises
    ------
    ConfigError
        If the network raises.
    """
    try:
        return network(patches)
    except (GimpError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):
            raise
        problem = (
            f"the patch encoder {name!r} failed on patches of shape {tuple(patches.shape)}: "
            f"{type(error).__name__}: {error}"
        )
        hint = "a network without a transform gets 8-bit pixels (batch, height, width, 3)"
        raise ConfigError(" ".join(problem.split()), hint=hint) from error


def _spelled(features: object) -> str:
    """Kind and shape of a network's output."""
    if isinstance(features, Tensor):
        return f"shape {tuple(features.shape)}"
    return f"a {type(features).__name__}"
