"""Models of TIAToolbox as patch encoders, and the family `tiatoolbox:NAME` of its backbones."""

from __future__ import annotations

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gimp_plugin.errors import (
    CheckpointError,
    ConfigError,
    GimpError,
    ResourceError,
    did_you_mean,
    listed,
)
from gimp_plugin.slides.encoders.contract import OF_THE_USER, UNTRAINED, PatchEncoder
from gimp_plugin.slides.encoders.hub import WEIGHTS, cached_file
from gimp_plugin.slides.weights import checked_hash
from gimp_plugin.storage.tensors import read_state_dict

logger = logging.getLogger(__name__)

FAMILY = "tiatoolbox"
SEED = 20231008


class ToolboxNetwork(nn.Module):
    """A model of TIAToolbox, run as by its engines: `preproc_func`, then `infer_batch`.

    Parameters
    ----------
    model
        A `ModelABC`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, patches: Tensor) -> Tensor:
        """Encode patches; a list of one array, as in WSI mode, is unpacked."""
        from torch.utils.data import default_collate

        images = [self.model.preproc_func(image) for image in patches.cpu().numpy()]
        batch = default_collate(images)
        # TIAToolbox converts features to numpy, which has no bfloat16
        with torch.autocast(patches.device.type, enabled=False):
            output = self.model.infer_batch(self.model, batch, device=str(patches.device))
        if isinstance(output, (list, tuple)) and len(output) == 1:
            (output,) = output
        if isinstance(output, (list, tuple, dict)):
            problem = f"infer_batch of {type(self.model).__name__} gave {len(output)} outputs"
            raise ConfigError(problem, hint="expected one vector a patch")
        return torch.as_tensor(output, device=patches.device)


def toolbox_model(
    *, argument: str, weights: Path | None = None, offline: bool = False
) -> PatchEncoder:
    """Return a backbone of TIAToolbox by name, as in its `DeepFeatureExtractor`.

    Parameters
    ----------
    argument
        Name of a backbone.
    weights
        State dict for the model. Without it, torchvision's backbones have random weights, as in
        TIAToolbox (but always the same ones), and timm's are downloaded.
    offline
        Forbid the download.

    Returns
    -------
    The encoder.
    """
    from gimp_plugin.slides.encoders.hashing import state_sha256
    from gimp_plugin.slides.encoders.imported import Found, encoder_of

    model, trained = _made(argument, pretrained=weights is None, offline=offline)
    digest = state_sha256(model) if trained and weights is None else UNTRAINED
    if weights is not None:
        digest = _load(model, weights)
    elif not trained:
        text = "TIAToolbox gives %r random weights: use its features only for tests"
        logger.warning(text, argument)
    version = importlib.metadata.version("tiatoolbox")
    return encoder_of(
        Found(text=argument, origin=None, network=model, transform=None),
        name=f"{FAMILY}:{argument}",
        sha256=digest,
        preprocessing=f"that of {type(model).__name__} in tiatoolbox {version}: pixels of 0 to 255",
        licence=OF_THE_USER if weights else "none" if not trained else "unknown",
    )


def _made(name: str, *, pretrained: bool, offline: bool) -> tuple[nn.Module, bool]:
    """Make a model, and return whether its weights are trained."""
    from tiatoolbox.models.architecture import vanilla

    cnns, large = vanilla.torch_cnn_backbone_dict, vanilla.timm_arch_dict
    if name not in cnns and name not in large:
        known = [*cnns, *large]
        problem = f"TIAToolbox has no backbone {name!r}{did_you_mean(name, known)}"
        raise ConfigError(problem, hint=f"known are {listed(known, limit=100)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # only within this block
        if name in cnns:
            return vanilla.CNNBackbone(name), False
        where = large[name]["model"].partition(":")[2]
        if offline and pretrained and cached_file(where, WEIGHTS) is None:
            problem = f"no weights of {where!r} in the Hugging Face cache, and --offline is given"
            raise ResourceError(problem, hint="leave out --offline, or give --weights FILE")
        try:
            return vanilla.TimmBackbone(name, pretrained=pretrained), pretrained
        except GimpError:
            raise
        except Exception as error:  # the hub's client may raise anything
            problem = f"cannot get {where!r} from the Hugging Face hub ({type(error).__name__})"
            hint = f"ask for access at https://huggingface.co/{where}, run 'hf auth login'"
            raise ResourceError(problem, hint=hint) from error


def _load(model: nn.Module, weights: Path) -> str:
    """Load the user's weights, and return their hash."""
    from gimp_plugin.slides.networks import load_exactly

    digest = checked_hash(weights)
    try:
        load_exactly(model, read_state_dict(weights), unused=())
    except CheckpointError as error:
        error.add_note(f"{str(weights)!r} must be a state dict of {type(model).__name__}")
        raise
    return digest
