"""Find a patch encoder by name, and check it."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import ConfigError, GimpError, PluginError
from gimp_plugin.plugins import registry, split_name
from gimp_plugin.slides.encoders.contract import MPP, Encoder, PatchEncoder

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

KIND = "patch-encoder"
IMPORTED = "import"
TEXTS = ("name", "weights_sha256", "licence", "preprocessing")


def find_encoder(config: ExtractionConfig, *, offline: bool) -> PatchEncoder:
    """Find a patch encoder by its registered name, with its weights.

    `NAME:ARGUMENT` is an encoder of the family NAME; if there is no such family, it is read as
    `MODULE:ATTRIBUTE`, an import string.

    Parameters
    ----------
    config
        Name and weights file.
    offline
        Do not download weights.

    Returns
    -------
    The encoder, its declared properties checked; its network also checks its output.
    """
    name, argument = split_name(config.patch_encoder)
    if imports_code(config.patch_encoder) and name != IMPORTED:
        name, argument = IMPORTED, config.patch_encoder
    factory = registry().load(KIND, name)
    given: dict[str, Any] = {"weights": Path(config.weights) if config.weights else None}
    given |= {"offline": offline} | ({"argument": argument} if argument else {})
    _check_call(factory, given, name)
    try:
        encoder = _checked(factory(**given), config.patch_encoder)
    except GimpError:
        raise
    except Exception as error:
        where = registry().component(KIND, name).origin
        problem = f"the patch encoder {config.patch_encoder!r} of plugin {where} failed: "
        raise PluginError(f"{problem}{type(error).__name__}: {error}") from error
    if encoder.mpp not in {MPP, config.mpp}:  # MPP is the default, so may mean nothing
        text = "the patch encoder %r expects mpp=%g, but the patches have mpp=%g (--mpp)"
        logger.warning(text, config.patch_encoder, encoder.mpp, config.mpp)
    return encoder


def imports_code(patch_encoder: str) -> bool:
    """Tell whether a patch encoder's name is an import string, so that using it runs that code.

    Parameters
    ----------
    patch_encoder
        Name as in the configuration.

    Returns
    -------
    False for encoders that plugins registered, because their code was installed on purpose.
    """
    name, argument = split_name(patch_encoder)
    return bool(argument) and (name == IMPORTED or name not in registry().names(KIND))


def is_family(name: str) -> bool:
    """Tell whether a registered patch encoder is a family, used as `NAME:ARGUMENT`.

    Parameters
    ----------
    name
        Registered name.

    Returns
    -------
    False for a single encoder, and for one that cannot be imported.
    """
    try:
        return _needs_argument(registry().load(KIND, name))
    except PluginError:
        return False


def _needs_argument(factory: Callable[..., Any]) -> bool:
    """Whether an encoder requires `argument`."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some callables have no signature
        return False
    return any(p.name == "argument" and p.default is p.empty for p in parameters)


def _takes_argument(factory: Callable[..., Any]) -> bool:
    """Whether an encoder accepts `argument`."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.name == "argument" or p.kind is p.VAR_KEYWORD for p in parameters)


def _check_call(factory: Callable[..., Any], given: dict[str, Any], name: str) -> None:
    """Refuse an argument to an encoder that takes none, and a family without one."""
    if "argument" in given and not _takes_argument(factory):
        problem = f"patch encoder '{name}:{given['argument']}': {name!r} takes no argument"
        raise ConfigError(problem, hint=f"give {name!r} alone")
    if "argument" not in given and _needs_argument(factory):
        problem = f"the patch encoder {name!r} is a family: it needs the name of a network"
        raise ConfigError(problem, hint=f"give '{name}:NAME'")


def _checked(encoder: PatchEncoder, asked: str) -> PatchEncoder:
    """Check an encoder's declared properties, and make its network check its output."""
    said: dict[str, Any] = {name: getattr(encoder, name) for name in TEXTS}
    said |= {name: getattr(encoder, name) for name in ("dim", "input_size", "mpp")}
    for name, value in said.items():
        wanted = "a text" if name in TEXTS else "a positive number"
        good = isinstance(value, str) and value if name in TEXTS else is_positive(value)
        if not good or (name in {"dim", "input_size"} and value != int(value)):
            problem = f"the patch encoder {asked!r} gives {name} = {value!r}, expected {wanted}"
            raise ConfigError(problem, hint="correct the encoder")

    def build() -> nn.Module:
        from gimp_plugin.slides.encoders.guarding import Guarded

        return Guarded(encoder.module(), name=said["name"], dim=int(said["dim"]))

    return Encoder(**said, build=build)


def is_positive(value: object) -> bool:
    """Tell whether something is a number above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def without_addresses(text: str) -> str:
    """Remove memory addresses, which differ between processes, from the text of an object.

    Returns
    -------
    One line.

    Examples
    --------
    >>> without_addresses("Lambda(<function <lambda> at 0x7f01>)")
    'Lambda(<function <lambda>>)'
    """
    return " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", text).split())
