"""The family `timm:NAME`: any network of timm, with its own preprocessing."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from gimp_plugin.errors import CheckpointError, ResourceError
from gimp_plugin.slides.encoders.contract import OF_THE_USER, Encoder, PatchEncoder
from gimp_plugin.slides.encoders.timm_catalogue import (
    FAMILY,
    TimmModel,
    find_model,
    preparation_of,
    published_file,
    version_of_timm,
)
from gimp_plugin.slides.weights import check_hash, checked_hash
from gimp_plugin.storage.tensors import read_state_dict

if TYPE_CHECKING:
    from torch import nn

    from gimp_plugin.slides.encoders.preparing import Preparation


def timm_model(
    *, argument: str, weights: Path | None = None, offline: bool = False
) -> PatchEncoder:
    """Return a network of timm without its classifier.

    Parameters
    ----------
    argument
        Name with or without its tag (`resnet18`, `vit_small_patch16_224.dino`), or
        `hf-hub:OWNER/NAME`.
    weights
        State dict of the same network; None uses timm's own weights from the hub's cache, or
        downloads them.
    offline
        Forbid the download.

    Returns
    -------
    The encoder; its weights are available.

    Raises
    ------
    ResourceError
        If timm or the weights are not available.
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


def _build(model: TimmModel, preparation: Preparation, path: Path, *, given: bool) -> nn.Module:
    """Build a network with its weights."""
    from gimp_plugin.slides.encoders.preparing import Prepared, fast

    loaded = functools.partial(_with_given if given else _with_published, model, path)
    return Prepared(fast(loaded, preparation.crop), preparation)


def _with_given(model: TimmModel, path: Path) -> nn.Module:
    """Load the user's weights by name, ignoring the classifier's; all others must match."""
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
        error.add_note(f"{str(path)!r} must be a state dict of timm's {model.architecture!r}")
        raise
    return network


def _with_published(model: TimmModel, path: Path) -> nn.Module:
    """Load published weights with timm's loader, which renames them where needed."""
    import torch

    overlay = {"state_dict": read_state_dict(path)}
    try:
        with torch.random.fork_rng(devices=[]):
            network = model.network(pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError) as error:
        problem = f"{str(path)!r} does not fit timm's {model.name!r}: {error}"
        raise CheckpointError(
            " ".join(problem.split())[:600], hint=f"update {version_of_timm()}"
        ) from error
    network.reset_classifier(0)  # type: ignore[operator]  # every network of timm has it
    return network
