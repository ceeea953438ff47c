"""The contract of a patch encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gimp_plugin.plugins.protocols import PatchEncoder

if TYPE_CHECKING:
    from torch import nn

UNTRAINED = "untrained"
OF_THE_USER = "unknown (a file of the user)"
UNKNOWN = "unknown"
MPP = 0.5

__all__ = ["MPP", "OF_THE_USER", "UNKNOWN", "UNTRAINED", "Encoder", "PatchEncoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A patch encoder whose network is built by a function.

    Parameters
    ----------
    name, dim, input_size, mpp, weights_sha256, licence, preprocessing
        As in `PatchEncoder`.
    build
        Builds the network.
    """

    name: str
    dim: int
    input_size: int
    mpp: float = MPP
    weights_sha256: str
    licence: str
    preprocessing: str
    build: Callable[[], nn.Module]

    def module(self) -> nn.Module:
        """Build the network."""
        return self.build()
