"""Look up a network in timm by name: architecture, published weights, preprocessing."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gimp_plugin.errors import CheckpointError, ConfigError, ResourceError, did_you_mean, listed
from gimp_plugin.slides.encoders.contract import UNKNOWN
from gimp_plugin.slides.encoders.hub import OPEN_CLIP, WEIGHTS, hub_file
from gimp_plugin.slides.weights import PublishedWeights, find_weights

if TYPE_CHECKING:
    from torch import nn

    from gimp_plugin.slides.encoders.preparing import Preparation

FAMILY = "timm"
HUB = "hf-hub:"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimmModel:
    """A network of timm that has been looked up, but not built.

    Parameters
    ----------
    name
        Name as the user wrote it.
    architecture
        Name of the architecture in timm.
    pretrained
        timm's description of the weights.
    arguments
        Arguments for building the network.
    """

    name: str
    architecture: str
    pretrained: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def network(self, **options: Any) -> nn.Module:
        """Build the network, by default with the classifier of its weights."""
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


def find_model(name: str, *, offline: bool) -> TimmModel:
    """Look up a name in timm.

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
        hint = (
            f"python -c 'import timm; print(timm.list_models())' lists those of {version_of_timm()}"
        )
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
    """Return the preprocessing that timm states for a network.

    Parameters
    ----------
    model
        The network.

    Returns
    -------
    For square patches, the same as timm's own transform for evaluation.

    Raises
    ------
    ConfigError
        If the network does not take square RGB images.
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
    """Return the file of a network's published weights.

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
        If the weights are not available.
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
    """Return the names that a network's weights may have on the hub, the best first."""
    name = model.pretrained.get("hf_hub_filename")
    if not name or name in WEIGHTS:
        return WEIGHTS
    return OPEN_CLIP if name in OPEN_CLIP else (str(name),)


def version_of_timm() -> str:
    """Return `timm` with its version."""
    from importlib.metadata import version

    return f"timm {version('timm')}"


def _of_the_hub(name: str, repository: str, *, offline: bool) -> TimmModel:
    """Look up a network described on the hub, in timm's newer or older format."""
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
        problem = f"config.json of {repository!r} does not describe a network of timm"
        raise CheckpointError(problem, hint="give its name in timm") from error
    if not timm.is_model(architecture):
        raise ConfigError(f"{repository!r} is a {architecture!r}, unknown to {version_of_timm()}")
    return TimmModel(name=name, architecture=architecture, pretrained=values, arguments=arguments)
