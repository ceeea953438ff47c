"""The family `timm:NAME`: any network of timm, with its own preprocessing."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.errors import CheckpointError, ConfigError, ResourceError, did_you_mean, listed
from gimp_plugin.slides.encoders.contract import OF_THE_USER, UNKNOWN, Encoder, PatchEncoder
from gimp_plugin.slides.encoders.hub import OPEN_CLIP, WEIGHTS, hub_file
from gimp_plugin.slides.weights import (
    PublishedWeights,
    check_hash,
    checked_hash,
    find_weights,
)
from gimp_plugin.storage.tensors import read_state_dict

if TYPE_CHECKING:
    from torch import nn

    from gimp_plugin.slides.encoders.preparing import Preparation

FAMILY = "timm"
HUB = "hf-hub:"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimmModel:
    """A network of timm, known and not built.

    Parameters
    ----------
    name
        As the user wrote it.
    architecture
        What timm builds.
    pretrained
        What timm says of the weights.
    arguments
        For building it.
    """

    name: str
    architecture: str
    pretrained: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def network(self, **options: Any) -> nn.Module:
        """Build the network without its classifier, or with the one that its weights have."""
        import timm

        return timm.create_model(
            self.architecture,
            pretrained_cfg=dict(self.pretrained),
            **{**self.arguments, **options},
        )

    @property
    def licence(self) -> str:
        """Licence of the published weights."""
        return str(self.pretrained.get("license") or UNKNOWN)


def timm_model(
    *, argument: str, weights: Path | None = None, offline: bool = False
) -> PatchEncoder:
    """Network of timm without its classifier.

    Parameters
    ----------
    argument
        Name, with its tag or not (`resnet18`, `vit_small_patch16_224.dino`), or
        `hf-hub:OWNER/NAME`.
    weights
        State dict of the same network; None takes timm's own from the hub's cache, or downloads
        them.
    offline
        Forbid the download.

    Returns
    -------
    The encoder; its weights are there.

    Raises
    ------
    ResourceError
        If timm or the weights are not there.
    """
    if importlib.util.find_spec("timm") is None:
        problem = f"the patch encoder '{FAMILY}:{argument}' needs timm"
        raise ResourceError(problem, hint="pip install timm")
    from gimp_plugin.slides.encoders.preparing import feature_dim

    model = find_model(argument, offline=offline)
    preparation = preparation_of(model)
    path = weights or published_file(model, offline=offline)
    digest = checked_hash(path)
    if weights is None:
        check_hash(path.resolve(), digest)  # the hub's cache names a file by its hash
    without_classes = functools.partial(model.network, num_classes=0)
    return Encoder(
        name=f"{FAMILY}:{argument}",
        dim=feature_dim(without_classes, preparation.crop),
        input_size=preparation.crop,
        weights_sha256=digest,
        licence=model.licence if weights is None else OF_THE_USER,
        preprocessing=str(preparation),
        build=functools.partial(_build, model, preparation, path, given=weights is not None),
    )


def find_model(name: str, *, offline: bool) -> TimmModel:
    """Find what timm knows of a name.

    Parameters
    ----------
    name
        As in `timm_model`.
    offline
        Do not ask the hub.

    Returns
    -------
    The model.

    Raises
    ------
    ConfigError
        If timm has no such network or weights.
    """
    import timm

    if name.replace("_", "-").startswith(HUB):
        return _of_the_hub(name, name[len(HUB) :], offline=offline)
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        problem = f"timm has no network {architecture!r}"
        problem += did_you_mean(architecture, timm.list_models())
        hint = f"python -c 'import timm; print(timm.list_models())' lists those of {_version()}"
        raise ConfigError(problem, hint=hint)
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}*")
            if each.partition(".")[0] == architecture]  # fmt: skip
    if tag and tag not in tags:
        problem = f"timm has no weights {tag!r} of {architecture!r}{did_you_mean(tag, tags)}"
        raise ConfigError(problem, hint=f"known are {listed(tags, limit=20)}")
    pretrained = timm.models.get_pretrained_cfg(name)
    values = {} if pretrained is None else dataclasses.asdict(pretrained)
    return TimmModel(name=name, architecture=architecture, pretrained=values)


def preparation_of(model: TimmModel) -> Preparation:
    """Preprocessing that timm states for a network.

    Parameters
    ----------
    model
        The network.

    Returns
    -------
    The same as timm's own transform for evaluation, for square patches.

    Raises
    ------
    ConfigError
        If the network takes no square RGB images.
    """
    from timm.data.config import resolve_data_config

    from gimp_plugin.slides.encoders.preparing import Preparation

    resolve: Any = resolve_data_config  # it has no types
    data = resolve(pretrained_cfg=dict(model.pretrained) or {"input_size": None})
    channels, height, width = data["input_size"]
    if channels != 3 or height != width or data.get("crop_mode") == "border":
        problem = f"'{FAMILY}:{model.name}' takes {channels} x {height} x {width} images"
        raise ConfigError(problem, hint="choose a network of square RGB images, cropped or not")
    return Preparation(
        resize=math.floor(height / (data["crop_pct"] or 1)),
        crop=height,
        interpolation=data["interpolation"],
        mean=data["mean"],
        std=data["std"],
    )


def published_file(model: TimmModel, *, offline: bool) -> Path:
    """File of a network's published weights.

    Parameters
    ----------
    model
        The network.
    offline
        Do not download it.

    Returns
    -------
    A file in the hub's cache or torch's.

    Raises
    ------
    ResourceError
        If there are none within reach.
    """
    said = model.pretrained
    if said.get("hf_hub_id"):
        repository = str(said["hf_hub_id"])
        names = hub_names(model)
        return hub_file(repository, names, offline=offline, licence=model.licence)
    if not str(said.get("url") or "").endswith((".pth", ".pt", ".safetensors")):
        problem = f"timm has no trained weights of {model.name!r}"
        raise ResourceError(problem, hint="give --weights FILE, or another network")
    published = PublishedWeights(url=str(said["url"]), licence=model.licence)
    return find_weights(published, given=None, offline=offline)[0]


def hub_names(model: TimmModel) -> tuple[str, ...]:
    """Names that a network's weights may have on the hub, the best first."""
    name = model.pretrained.get("hf_hub_filename")
    if not name or name in WEIGHTS:
        return WEIGHTS
    return OPEN_CLIP if name in OPEN_CLIP else (str(name),)


def _of_the_hub(name: str, repository: str, *, offline: bool) -> TimmModel:
    """Find a network that is described on the hub, in timm's newer or its older format."""
    import timm

    path = hub_file(repository, ("config.json",), offline=offline)
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        architecture = said["architecture"]
        pretrained = said.get("pretrained_cfg", said)
        number = said.get("num_classes", pretrained.get("num_classes"))
        known = {each.name for each in dataclasses.fields(timm.models.PretrainedCfg)}
        values = {key: value for key, value in pretrained.items() if key in known}
        values |= {"num_classes": number, "source": "", "hf_hub_id": repository}
        arguments = dict(said.get("model_args") or {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"config.json of {repository!r} describes no network of timm"
        raise CheckpointError(problem, hint="give timm's own name of it") from error
    if not timm.is_model(architecture):
        raise ConfigError(f"{repository!r} is a {architecture!r}, unknown to {_version()}")
    return TimmModel(name=name, architecture=architecture, pretrained=values, arguments=arguments)


def _build(model: TimmModel, preparation: Preparation, path: Path, *, given: bool) -> nn.Module:
    """Build a network with its weights."""
    from gimp_plugin.slides.encoders.preparing import Prepared, fast

    loaded = functools.partial(_with_given if given else _with_published, model, path)
    return Prepared(fast(loaded, preparation.crop), preparation)


def _with_given(model: TimmModel, path: Path) -> nn.Module:
    """Load the user's weights: by name, all of them, the classifier apart."""
    import torch

    from gimp_plugin.slides.networks import load_exactly

    state = read_state_dict(path)
    with torch.random.fork_rng(devices=[]):
        network = model.network(num_classes=0)
    classifier = model.pretrained.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    try:
        load_exactly(network, state, unused=tuple(f"{name}." for name in names))
    except CheckpointError as error:
        error.add_note(f"{str(path)!r} is to be a state dict of timm's {model.architecture!r}")
        raise
    return network


def _with_published(model: TimmModel, path: Path) -> nn.Module:
    """Load published weights as timm does, which knows how they are to be renamed."""
    import torch

    overlay = {"state_dict": read_state_dict(path)}
    try:
        with torch.random.fork_rng(devices=[]):
            network = model.network(pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError) as error:
        problem = f"{str(path)!r} does not fit timm's {model.name!r}: {error}"
        raise CheckpointError(
            " ".join(problem.split())[:600], hint=f"update {_version()}"
        ) from error
    network.reset_classifier(0)  # type: ignore[operator]  # every network of timm has it
    return network


def _version() -> str:
    """Give timm with its version."""
    from importlib.metadata import version

    return f"timm {version('timm')}"
