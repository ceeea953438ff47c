"""What a patch encoder is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn

UNTRAINED = "untrained"
OF_THE_USER = "unknown (a file of the user)"
UNKNOWN = "unknown"
MPP = 0.5


class PatchEncoder(Protocol):
    """What turns patches into features.

    A registered component of kind `patch-encoder` is a function `(*, weights: Path | None,
    offline: bool) -> PatchEncoder`. That of a family, `NAME:ARGUMENT`, also takes `argument: str`.
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
    mpp: float = MPP
    weights_sha256: str
    licence: str
    preprocessing: str
    build: Callable[[], nn.Module]

    def module(self) -> nn.Module:
        """Build the network."""
        return self.build()
