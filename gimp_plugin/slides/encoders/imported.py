"""The family `module:attribute`: a network that can be imported, for instance the user's own."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.errors import CheckpointError, ConfigError, GimpError
from gimp_plugin.plugins import registry
from gimp_plugin.slides.encoders.contract import (
    MPP,
    OF_THE_USER,
    UNKNOWN,
    Encoder,
    PatchEncoder,
)
from gimp_plugin.slides.encoders.finding import KIND, is_positive, without_addresses
from gimp_plugin.slides.encoders.hashing import code_of, state_sha256
from gimp_plugin.slides.weights import checked_hash
from gimp_plugin.storage.atomic import sha256_json
from gimp_plugin.storage.tensors import read_state_dict

if TYPE_CHECKING:
    from torch import nn

PATCH_SIZE = 256
WANTED = "a torch.nn.Module, a class or function that gives one, or a pair (module, transform)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The network that an import string names.

    Parameters
    ----------
    text
        `module:attribute`.
    origin
        The attribute itself.
    network
        The network.
    transform
        From a PIL image to a tensor, or None.
    """

    text: str
    origin: object
    network: nn.Module
    transform: Callable[[Any], Any] | None

    @property
    def is_toolbox(self) -> bool:
        """Whether it is a model of TIAToolbox, which prepares patches itself."""
        base = getattr(sys.modules.get("tiatoolbox.models.models_abc"), "ModelABC", None)
        return base is not None and isinstance(self.network, base)

    def says(self, name: str) -> object:
        """Return a property that the network, or else the attribute, states; None if neither."""
        for one in (self.network, self.origin):
            value = getattr(one, name, None)
            if isinstance(value, (int, float, str)):
                return value
        return None

    def module(self) -> nn.Module:
        """Add the transform or resizing in front of the network."""
        from gimp_plugin.slides.encoders.preparing import Resized, Transformed
        from gimp_plugin.slides.encoders.toolbox_models import ToolboxNetwork

        network = self.network.eval()
        if self.is_toolbox:
            network = ToolboxNetwork(network)
        elif self.transform is not None:
            return Transformed(network, self.transform)
        size = self.says("input_size")
        return network if size is None else Resized(network, int(size))  # type: ignore[call-overload]  # checked before


def imported(*, argument: str, weights: Path | None = None, offline: bool = False) -> PatchEncoder:
    """Make an encoder from an import string.

    Parameters
    ----------
    argument
        `module:attribute`. The attribute is a network, a class or function that returns one, or a
        pair of a network and a transform of a PIL image. Without a transform the network gets
        8-bit pixels, shape (batch, height, width, 3); a model of TIAToolbox is run by its own
        `preproc_func` and `infer_batch`. `dim`, `input_size`, `mpp` and `licence` are taken from
        the network or the attribute.
    weights
        State dict for the network, with the same names.
    offline
        Without effect: the import is not controlled.

    Returns
    -------
    The encoder. Its hash is that of its weights, its code and its transform.
    """
    del offline
    found = found_by(argument)
    source = _load(found, weights)
    module = sys.modules[argument.partition(":")[0]]
    code = code_of(module, found.origin, found.network, found.transform or found.network)
    transform = without_addresses(repr(found.transform)) if found.transform else ""
    identity = sha256_json({"weights": source, "code": code, "transform": transform})
    return encoder_of(
        found,
        name=argument,
        sha256=identity,
        preprocessing="; ".join(
            ["its own", *(f"{key} ({value})" for key, value in code.items()), transform]
        ).removesuffix("; "),
        licence=OF_THE_USER if weights else str(found.says("licence") or UNKNOWN),
    )


def encoder_of(
    found: Found, *, name: str, sha256: str, preprocessing: str, licence: str
) -> PatchEncoder:
    """Make an encoder of an imported network.

    Parameters
    ----------
    found
        The network.
    name, sha256, preprocessing, licence
        Attributes of the encoder.

    Returns
    -------
    The encoder; if its dimension is not stated, it is found by encoding a black patch.

    Raises
    ------
    ConfigError
        If a stated property is impossible.
    """
    for stated in ("dim", "input_size", "mpp"):
        value = found.says(stated)
        whole = stated == "mpp" or isinstance(value, int)
        if value is not None and not (is_positive(value) and whole):
            problem = f"the patch encoder {name!r} gives {stated} = {value!r}"
            raise ConfigError(problem, hint="expected a positive number")
    size: Any = found.says("input_size") or PATCH_SIZE
    dim: Any = found.says("dim")
    mpp: Any = found.says("mpp") or MPP
    return Encoder(
        name=name,
        dim=dim or _dim(found, name, size),
        input_size=size,
        mpp=mpp,
        weights_sha256=sha256,
        licence=licence,
        preprocessing=preprocessing,
        build=found.module,
    )


def found_by(text: str) -> Found:
    """Import the object that a string names, and get a network from it.

    Parameters
    ----------
    text
        `module:attribute`.

    Returns
    -------
    The network and its transform.

    Raises
    ------
    ConfigError
        If there is no such object, it raises, or it is not a network.
    """
    origin = _imported(text)
    made = origin
    if inspect.isclass(origin) or not (_is_network(origin) or isinstance(origin, (tuple, list))):
        made = _called(origin, text)
    network, transform = made, getattr(made, "transform", None)
    if isinstance(made, (tuple, list)):
        network, transform = made if len(made) == 2 else (None, None)
    if not _is_network(network) or not (transform is None or callable(transform)):
        problem = f"the patch encoder {text!r} is {_kind(origin)} that gives {_kind(made)}"
        raise ConfigError(problem, hint=f"expected {WANTED}")
    return Found(text=text, origin=origin, network=network, transform=transform)


def _imported(text: str) -> Any:
    """Import an attribute; errors name it."""
    module, _, attribute = text.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _failed(text, "cannot be imported", error) from error
        try:
            registry().component(KIND, module)  # a misspelled or broken family?
        except ConfigError as unknown:
            unknown.add_note(
                f"nor is there a module {error.name!r}; to use this folder, set PYTHONPATH=."
            )
            raise unknown from error
        raise
    except (Exception, SystemExit) as error:
        raise _failed(text, "cannot be imported", error) from error
    try:
        return functools.reduce(getattr, attribute.split("."), found)
    except AttributeError as error:
        problem = f"the module {module!r} has no {attribute!r}, asked for as a patch encoder"
        raise ConfigError(problem, hint="check the name behind the colon") from error


def _called(factory: Any, text: str) -> Any:
    """Call a class or function, leaving torch's generator as it was."""
    import torch

    if not callable(factory):
        problem = f"the patch encoder {text!r} is {_kind(factory)}"
        raise ConfigError(problem, hint=f"expected {WANTED}")
    try:
        with torch.random.fork_rng(devices=[]):
            return factory()
    except GimpError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(text, "cannot be made", error) from error


def _load(found: Found, weights: Path | None) -> str:
    """Load the user's weights, if any; return the hash of the network's state."""
    if weights is None:
        return state_sha256(found.network)
    from gimp_plugin.slides.networks import load_exactly

    digest = checked_hash(weights)
    try:
        load_exactly(found.network, read_state_dict(weights), unused=())
    except CheckpointError as error:
        error.add_note(f"{str(weights)!r} must be a state dict of {found.text!r}")
        raise
    return digest


def _dim(found: Found, name: str, size: int) -> int:
    """Encode a black patch to find the number of features."""
    import torch

    from gimp_plugin.slides.encoders.guarding import run

    black = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with torch.inference_mode():
        features = run(found.module(), black, name=name)
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 1:
        shape = tuple(getattr(features, "shape", ())) or type(features).__name__
        problem = f"the patch encoder {name!r} gave {shape} for one patch"
        raise ConfigError(problem, hint="expected one vector a patch: shape (1, dim)")
    return int(features.shape[1])


def _is_network(value: object) -> bool:
    """Whether something is a network."""
    from torch import nn

    return isinstance(value, nn.Module)


def _kind(value: object) -> str:
    """Name the kind of something."""
    return f"the class {value.__name__}" if inspect.isclass(value) else f"a {type(value).__name__}"


def _failed(text: str, what: str, error: BaseException) -> ConfigError:
    """Error for foreign code that raised."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigError(f"the patch encoder {text!r} {what}: {reason}", hint="correct its module")
