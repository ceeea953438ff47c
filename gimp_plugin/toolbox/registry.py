"""Registration of our patch encoders among TIAToolbox's pretrained models."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable
from typing import Any

from gimp_plugin.config import ExtractionConfig
from gimp_plugin.errors import ConfigError, PluginError, did_you_mean
from gimp_plugin.plugins import registry, split_name
from gimp_plugin.toolbox import contract
from gimp_plugin.toolbox.quiet import logging_kept

PREFIX = "gimp-"
MODULE = "gimp"
CLASS = "PatchEncoderModel"
KIND = "patch-encoder"
OURS = "knows_gimp"


def toolbox_name(patch_encoder: str) -> str:
    """Name of a patch encoder in TIAToolbox.

    Returns
    -------
    Our name with a prefix; `resnet50` alone is a network of TIAToolbox without weights.

    Examples
    --------
    >>> toolbox_name("resnet50")
    'gimp-resnet50'
    """
    return f"{PREFIX}{patch_encoder}"


def register(*patch_encoders: str) -> tuple[str, ...]:
    """Register patch encoders with TIAToolbox by name, with their weights and normalisation.

    Afterwards, `DeepFeatureExtractor("gimp-resnet50")`, `get_pretrained_model("gimp-resnet50")` and
    everything else that takes a name find them, in this process. Nothing is downloaded before an
    encoder is used. `weights=` takes the same file as `gimp extract-features --weights`. Calling
    this again is harmless. It also makes TIAToolbox's annotation stores work if Python's sqlite3
    cannot load extensions.

    Parameters
    ----------
    *patch_encoders
        Names as for `gimp extract-features --patch-encoder`, such as `timm:resnet18`; by default
        all encoders that need no argument.

    Returns
    -------
    Their names in TIAToolbox.

    Raises
    ------
    ConfigError
        If there is no such patch encoder.
    PluginError
        If TIAToolbox has changed something that we rely on, or has another model of that name.
    """
    contract.check("encoder")
    with logging_kept():
        from tiatoolbox import rcParam
        from tiatoolbox.models import architecture

        from gimp_plugin.slides.encoders import is_family
        from gimp_plugin.toolbox import encoder
        from gimp_plugin.toolbox.stores import let_sqlite_be
    known = tuple(registry().names(KIND))
    chosen = patch_encoders or tuple(name for name in known if not is_family(name))
    for name in chosen:
        _check_known(name, known)
    let_sqlite_be()
    infos = rcParam["pretrained_model_info"]
    entries = {toolbox_name(name): _entry(name) for name in chosen}
    taken = [name for name, entry in entries.items() if infos.get(name, entry) != entry]
    if taken:
        problem = f"TIAToolbox already has a different model {taken[0]!r}"
        raise PluginError(problem, hint="rename that one")
    infos.update(entries)
    sys.modules[f"{architecture.__name__}.{MODULE}"] = encoder
    setattr(architecture, MODULE, encoder)
    fetch = architecture.fetch_pretrained_weights
    if not hasattr(fetch, OURS):
        architecture.fetch_pretrained_weights = _with_ours(fetch, infos)
    return tuple(map(toolbox_name, chosen))


def _check_known(name: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is not a patch encoder."""
    if split_name(name)[0] not in known and ":" not in name:
        problem = f"no patch encoder {name!r}{did_you_mean(name, known)}"
        raise ConfigError(problem, hint="gimp plugins lists them")


def _entry(name: str) -> dict[str, Any]:
    """Entry for TIAToolbox's registry, with the default patches of `gimp extract-features`."""
    usual = ExtractionConfig()
    size = [usual.patch_size, usual.patch_size]
    return {
        "architecture": {"class": f"{MODULE}.{CLASS}", "kwargs": {"name": name}},
        "ioconfig": {
            "class": "io_config.IOPatchPredictorConfig",
            "kwargs": {
                "patch_input_shape": size,
                "stride_shape": size,
                "input_resolutions": [{"resolution": usual.mpp, "units": "mpp"}],
            },
        },
    }


def _with_ours(fetch: Callable[..., Any], infos: dict[str, Any]) -> Callable[..., Any]:
    """Wrap TIAToolbox's download of weights, which does not have ours."""

    @functools.wraps(fetch)
    def fetch_pretrained_weights(model_name: str, *given: Any, **named: Any) -> Any:
        entry = infos.get(model_name, {})
        if entry.get("architecture", {}).get("class") == f"{MODULE}.{CLASS}":
            return nothing()
        return fetch(model_name, *given, **named)

    setattr(fetch_pretrained_weights, OURS, True)
    return fetch_pretrained_weights


def nothing() -> io.BytesIO:
    """Empty state dict as a file, with which the encoder finds its own weights."""
    import torch

    file = io.BytesIO()
    torch.save({}, file)
    file.seek(0)
    return file
