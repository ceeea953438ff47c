"""The family `torchvision:NAME[@WEIGHTS]`: any classification network of torchvision."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.errors import CheckpointError, ConfigError, did_you_mean, listed
from gimp_plugin.slides.encoders.contract import OF_THE_USER, Encoder, PatchEncoder
from gimp_plugin.slides.weights import PublishedWeights, find_weights
from gimp_plugin.storage.tensors import read_state_dict

if TYPE_CHECKING:
    from torch import nn

    from gimp_plugin.slides.encoders.preparing import Preparation

FAMILY = "torchvision"
LICENCE = "BSD-3-Clause"
WITH_HELPERS = ("googlenet", "inception_v3")
HELPERS = ("AuxLogits", "aux1", "aux2")
"""Auxiliary classifiers, which are only for training."""


def torchvision_model(
    *, argument: str, weights: Path | None = None, offline: bool = False
) -> PatchEncoder:
    """Return a network of torchvision without its last linear layer.

    Parameters
    ----------
    argument
        Name, optionally with `@` and the name of its weights (`resnet50@IMAGENET1K_V2`); by
        default torchvision's default weights. The weights also determine the preprocessing.
    weights
        State dict of the same network; None uses the published one from the torch hub cache, or
        downloads it.
    offline
        Forbid the download.

    Returns
    -------
    The encoder; its weights are available and have the right hash.
    """
    from gimp_plugin.slides.encoders.preparing import Preparation, feature_dim

    name, _, which = argument.partition("@")
    chosen = find_weights_of(name, which)
    path, digest = find_weights(published_weights(chosen), given=weights, offline=offline)
    stated = chosen.transforms()
    preparation = Preparation(
        resize=stated.resize_size[0],
        crop=stated.crop_size[0],
        interpolation=stated.interpolation.value,
        mean=stated.mean,
        std=stated.std,
    )
    return Encoder(
        name=f"{FAMILY}:{argument}",
        dim=feature_dim(functools.partial(_network, name), preparation.crop),
        input_size=preparation.crop,
        weights_sha256=digest,
        licence=published_weights(chosen).licence if weights is None else OF_THE_USER,
        preprocessing=str(preparation),
        build=functools.partial(_build, name, preparation, path),
    )


def find_weights_of(name: str, which: str) -> Any:
    """Find a network's published weights.

    Parameters
    ----------
    name
        Name of the network.
    which
        Name of its weights; empty for the default.

    Returns
    -------
    A member of the network's weights enumeration.

    Raises
    ------
    ConfigError
        If torchvision has no such network or weights.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        problem = f"torchvision has no classification network {name!r}{did_you_mean(name, known)}"
        raise ConfigError(problem, hint=f"known are {listed(known, limit=100)}")
    every = models.get_model_weights(name).__members__
    if (which or "DEFAULT") not in every:
        problem = f"torchvision has no weights {which!r} of {name!r}{did_you_mean(which, every)}"
        raise ConfigError(problem, hint=f"known are {listed(every)}")
    return every[which or "DEFAULT"]


def published_weights(chosen: Any) -> PublishedWeights:
    """Describe where weights of torchvision are published."""
    return PublishedWeights(
        url=chosen.url,
        licence=str(chosen.meta.get("license", LICENCE)),
        megabytes=round(chosen.meta.get("_file_size", 0)),
    )


def _network(name: str) -> nn.Module:
    """Build a network that returns the input of its last linear layer."""
    network = _whole(name)
    linear = _last_linear(network, name)
    parent, _, attribute = linear.rpartition(".")
    from torch import nn

    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return network


def _whole(name: str) -> nn.Module:
    """Build a network with its classifier and without weights."""
    import torch
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        if name not in WITH_HELPERS:
            return models.get_model(name, weights=None)
        # As torchvision does for its published weights; initialising random ones takes minutes.
        return models.get_model(name, weights=None, transform_input=True, init_weights=False)


def _last_linear(network: nn.Module, name: str) -> str:
    """Find the name of the classifier's last layer."""
    from torch import nn

    names = [path for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not names:
        problem = f"'{FAMILY}:{name}' has no linear classifier to be removed"
        raise ConfigError(problem, hint="choose another network")
    return names[-1]


def _build(name: str, preparation: Preparation, path: Path) -> nn.Module:
    """Build a network with its weights."""
    from gimp_plugin.slides.encoders.preparing import Prepared, fast

    return Prepared(fast(functools.partial(_loaded, name, path), preparation.crop), preparation)


def _loaded(name: str, path: Path) -> nn.Module:
    """Load weights by name, ignoring the last layer and auxiliary classifiers."""
    from gimp_plugin.slides.networks import load_exactly

    linear = _last_linear(_whole(name), name)
    network = _network(name)
    for helper in HELPERS:
        if hasattr(network, helper):
            setattr(network, helper, None)
    unused = (f"{linear}.", *(f"{helper}." for helper in HELPERS))
    try:
        load_exactly(network, read_state_dict(path), unused=unused)
    except CheckpointError as error:
        error.add_note(f"{str(path)!r} must be a state dict of torchvision's {name!r}")
        raise
    return network
